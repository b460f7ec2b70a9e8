"""Warnings about metrics that do not suit a text, before they are computed."""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from seqtrans.translation.evaluation.metrics import Measure, Tokenizer, load_tokenizer

SAMPLED_LINES = 5_000
SAMPLED_CHARACTERS = 1_000  # of a line
TOKENIZED_LINES = 100  # text with so many lines that end in " ." looks tokenized, as in sacreBLEU
LONG_LINE = 250  # words; its TER takes a second or two, that of twice as many half a minute

_KANA = "\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"
_HAN = "\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_SOUTH_EAST = "\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u1aaf\uaa60-\uaadf"
_UNSPACED = re.compile(f"[{_KANA}{_HAN}{_SOUTH_EAST}]")  # scripts without spaces between words
_WORD = re.compile(r"\w+")
_LETTERS_IN_WORD = 3  # of these scripts, roughly
_LEAST_SHARE = 1 / 4  # of words of these scripts among all words
_LONGEST = 24  # mean characters of a word, more than in any language
_WORDY = {"chrf++": "chrF++", "ter": "TER"}  # split words at spaces


class Names(NamedTuple):
    """Names of the settings for messages."""

    tokenize: str
    metric: str


IN_RECIPE = Names("validation.tokenize", "validation.metrics")


def unsuited(measure: Measure, lines: Sequence[str], text: str, names: Names) -> list[str]:
    """Return warnings about metrics that are unsuitable for a text, or slow.

    Args:
        measure: What will be measured.
        lines: Lines of the reference.
        text: Name of the reference.
        names: Names of the settings.

    Raises:
        DataError: What the tokenizer needs is not installed.
    """
    warnings: list[str] = []
    step = max(1, len(lines) // SAMPLED_LINES)
    sample = [line[:SAMPLED_CHARACTERS].strip() for line in lines[::step]]
    if "bleu" in measure.metrics:
        better = better_tokenizers(sample, load_tokenizer(measure.tokenize))
        if better and measure.tokenize not in (*better, "char", "flores101", "flores200", "spm"):
            warnings.append(
                f"{text} has few spaces, and the tokenizer {measure.tokenize} of BLEU needs them: "
                f"set {names.tokenize} to {' or '.join(better)}"
            )
    wordy = [_WORDY[name] for name in measure.metrics if name in _WORDY]
    if wordy and better_tokenizers(sample, load_tokenizer("13a")):
        warnings.append(
            f"{text} has few spaces, and {' and '.join(wordy)} "
            f"split{'s' if len(wordy) == 1 else ''} words at spaces: "
            f"set {names.metric} to chrf, which does not"
        )
    longest = max((len(line.split()) for line in lines), default=0)
    if "ter" in measure.metrics and longest >= LONG_LINE:
        warnings.append(
            f"{text} has a line of {longest:,} words: TER takes half a minute for 500 words and "
            f"minutes for 1,000; other metrics take seconds"
        )
    return warnings


def looks_tokenized(lines: Sequence[str]) -> int:
    """Return the number of lines that end as in tokenized text, or 0 if they are few."""
    count = sum(line.rstrip().endswith(" .") for line in lines)
    return count if count >= TOKENIZED_LINES else 0


def better_tokenizers(
    lines: Sequence[str], tokenize: Callable[[str], str]
) -> tuple[Tokenizer, ...]:
    """Return better tokenizers for a text whose words ``tokenize`` does not separate."""
    pieces = [piece for line in lines for piece in tokenize(line).split()]
    characters = sum(map(len, pieces))
    text = "\n".join(lines)
    letters = len(_UNSPACED.findall(text))
    words, others = letters / _LETTERS_IN_WORD, len(_WORD.findall(_UNSPACED.sub(" ", text)))
    if not letters or words < _LEAST_SHARE * (words + others):
        return ("char",) if characters > _LONGEST * len(pieces) else ()
    south_east = len(re.findall(f"[{_SOUTH_EAST}]", text)) / letters > 0.5
    breaks = sum(bool(_UNSPACED.search(piece)) for piece in pieces)
    breaks -= sum(bool(_UNSPACED.search(line)) for line in lines)
    if breaks >= letters * (0.1 if south_east else 0.2):  # words have some 5 letters, or 2
        return ()
    if south_east:
        return ("char", "flores200")
    if len(re.findall(f"[{_KANA}]", text)) > 0.05 * letters:
        return ("ja-mecab", "char")
    return ("zh",)
