"""Warnings about metrics that do not suit a text, before they are computed."""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from seqtrans.translation.evaluation.metrics import Measure, Tokenizer, load_tokenizer

SAMPLED_LINES = 5_000
SAMPLED_CHARACTERS = 1_000  # of a line
TOKENIZED_LINES = 100  # that end in " .", from which a text looks tokenized; sacreBLEU's number
LONG_LINE = 250  # words: TER of it takes a second or two, and half a minute of twice as many

_KANA = "\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"
_HAN = "\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_SOUTH_EAST = "\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u1aaf\uaa60-\uaadf"
_UNSPACED = re.compile(f"[{_KANA}{_HAN}{_SOUTH_EAST}]")  # scripts without spaces between words
_WORD = re.compile(r"\w+")
_LETTERS_IN_WORD = 3  # of these scripts, roughly
_LEAST_SHARE = 1 / 4  # of such words among all
_LONGEST = 24  # characters of a word, on average: those of no language are so long
_WORDY = {"chrf++": "chrF++", "ter": "TER"}  # take what stands between spaces for words


class Names(NamedTuple):
    """Names of the settings for messages."""

    tokenize: str
    metric: str


IN_RECIPE = Names("validation.tokenize", "validation.metrics")


def unsuited(measure: Measure, lines: Sequence[str], text: str, names: Names) -> list[str]:
    """Return warnings about metrics that are unsuitable for a text or slow; often none.

    Args:
        measure: What will be measured.
        lines: Of the reference.
        text: What to call it.
        names: How to name what should change.

    Raises:
        DataError: What the tokenizer needs is not installed.
    """
    said: list[str] = []
    step = max(1, len(lines) // SAMPLED_LINES)
    sample = [line[:SAMPLED_CHARACTERS].strip() for line in lines[::step]]
    if "bleu" in measure.metrics:
        better = better_tokenizers(sample, load_tokenizer(measure.tokenize))
        if better and measure.tokenize not in (*better, "char", "flores101", "flores200", "spm"):
            said.append(
                f"{text} has hardly a space, and BLEU cuts it into words by {measure.tokenize}, "
                f"which needs them: set {names.tokenize} to {' or '.join(better)}"
            )
    wordy = [_WORDY[name] for name in measure.metrics if name in _WORDY]
    if wordy and better_tokenizers(sample, load_tokenizer("13a")):
        said.append(
            f"{text} has hardly a space, and {' and '.join(wordy)} "
            f"take{'s' if len(wordy) == 1 else ''} what stands between spaces for words: "
            f"set {names.metric} to chrf, which needs none"
        )
    longest = max((len(line.split()) for line in lines), default=0)
    if "ter" in measure.metrics and longest >= LONG_LINE:
        said.append(
            f"{text} has a line of {longest:,} words: TER takes half a minute for one of 500 and "
            f"minutes for one of 1,000; the other metrics take seconds"
        )
    return said


def looks_tokenized(lines: Sequence[str]) -> int:
    """Return the number of lines that end as in tokenized text, if they are many; else 0."""
    count = sum(line.rstrip().endswith(" .") for line in lines)
    return count if count >= TOKENIZED_LINES else 0


def better_tokenizers(
    lines: Sequence[str], tokenize: Callable[[str], str]
) -> tuple[Tokenizer, ...]:
    """Return tokenizers for a text whose words ``tokenize`` does not separate; often none."""
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
