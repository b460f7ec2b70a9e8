"""Warnings of translations that look wrong, from the text alone."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import Any

from seqtrans.translation.protocols import Segmenter

_REPEATS = 3  # of words in a row
_REPEATED_CHARACTERS = re.compile(r"(?=\S*?\w)(\S{1,20}?)\1{4,}")
_LONGEST_LOOP = 20  # words
_FACTOR, _OFFSET = 1.75, 8  # of tokens, from which on a translation is long or short
_COPIED = 4  # words in a row
_SCRIPT_SHARE = 0.02  # of a vocabulary's letters, that a script needs to belong to it
_LETTER = re.compile("LETTER|IDEOGRAPH|SYLLABLE")  # not the ordinal indicators
_NUMBER = re.compile(r"\d+(?:[.,:'\u2019\u00a0\u202f]\d+)*")
_PLACEHOLDER = re.compile(
    r"\{\{[^{}]*\}\}|\$?\{[^{}]*\}"  # {{name}}, {name}, ${name}
    r"|%(?:\d+\$)?\(\w+\)?[#0\- +]?[\d.]*[a-zA-Z]|%(?:\d+\$)?[\d.]*[sdfiuxXc@](?!\w)"  # %(n)d, %s
    r"|</?[A-Za-z][^<>]*>"  # tags of XML and HTML
    r"|https?://[^\s<>\"]+[^\s<>\".,;:!?)]|[\w.+-]+@[\w-]+(?:\.[\w-]+)+"  # URLs, e-mail
)


def warnings_of(
    source: str,
    translation: str,
    lengths: tuple[int, int],
    scripts: frozenset[str],
) -> dict[str, Any]:
    """Return what looks wrong about a translation, by kind; empty if nothing does.

    - ``loop``: words that follow each other 3 times, or characters 5 times, unlike in the source
    - ``too_long``, ``too_short``: tokens of source and translation, if one has more than 1.75
      times as many as the other, and 8
    - ``copy``: 4 words of the source or more in a row, 2 of them in lower case
    - ``script``: words with letters that the target language is not written in
    - ``numbers``, ``placeholders``: those that are missing; a number may have other separators.
      Placeholders are ``{name}``, ``%s``, ``%(count)d``, tags, URLs and e-mail addresses

    Args:
        source: The line.
        translation: Its translation.
        lengths: Tokens of both.
        scripts: Scripts of the target language; see ``scripts_of``.
    """
    found = {
        "loop": _loop(translation) if not _loop(source) else "",
        "too_long": list(lengths) if lengths[1] > _FACTOR * lengths[0] + _OFFSET else [],
        "too_short": list(lengths) if lengths[0] > _FACTOR * lengths[1] + _OFFSET else [],
        "copy": _copied(source.split(), translation.split()),
        "script": [word for word in translation.split() if _scripts(word) - scripts],
        "numbers": _lost(_numbers(source), _numbers(translation)),
        "placeholders": _lost(_placeholders(source), _placeholders(translation)),
    }
    return {kind: what for kind, what in found.items() if what}


def scripts_of(segmenter: Segmenter) -> frozenset[str]:
    """Return the scripts in which the tokens of a vocabulary are written, without rare ones."""
    counts = Counter(
        script
        for i, piece in enumerate(segmenter.pieces)
        if i not in segmenter.specials and not re.fullmatch(r"<0x[0-9A-F]{2}>", piece)
        for script in map(_script, piece)
        if script
    )
    return frozenset(s for s, count in counts.items() if count >= _SCRIPT_SHARE * counts.total())


def _script(character: str) -> str:
    """Return the script of a letter, the first word of its name; empty for other characters."""
    script, _, rest = unicodedata.name(character, "").partition(" ")
    return script if character.isalpha() and _LETTER.search(rest) else ""


def _scripts(word: str) -> set[str]:
    return set(filter(None, map(_script, word)))


def _loop(text: str) -> str:
    """Return the first words, or else characters, that are repeated; empty if there are none."""
    words = text.casefold().split()
    for size in range(1, min(_LONGEST_LOOP, len(words) // _REPEATS) + 1):
        equal = 0  # words that are the same as the one ``size`` words before, in a row
        for i in range(size, len(words)):
            equal = equal + 1 if words[i] == words[i - size] else 0
            if equal == size * (_REPEATS - 1):
                return " ".join(words[i - size + 1 : i + 1])
    match = _REPEATED_CHARACTERS.search(text)
    return match[1] if match and any(map(str.isalpha, match[1])) else ""


def _copied(source: Sequence[str], translation: Sequence[str]) -> str:
    """Return the longest sequence of words that both have; empty if it is short or of names."""
    places: dict[tuple[str, ...], list[int]] = {}
    for i in range(len(source) - _COPIED + 1):
        places.setdefault(tuple(map(str.casefold, source[i : i + _COPIED])), []).append(i)
    best: Sequence[str] = ()
    for j in range(len(translation) - _COPIED + 1):
        for i in places.get(tuple(map(str.casefold, translation[j : j + _COPIED])), ()):
            pairs = zip(source[i:], translation[j:], strict=False)
            run = [b for _, b in takewhile(lambda p: p[0].casefold() == p[1].casefold(), pairs)]
            words = [word for word in run if any(map(str.isalpha, word))]
            is_text = len(words) >= _COPIED and sum(word[0].islower() for word in words) >= 2
            best = run if is_text and len(run) > len(best) else best
    return " ".join(best)


def _numbers(text: str) -> list[tuple[str, str]]:
    """Return the numbers of a text, each as its digits and as it is written."""
    outside = _PLACEHOLDER.sub(" ", text)
    return [
        ("".join(str(unicodedata.digit(c)) for c in match[0] if c.isdecimal()), match[0])
        for match in _NUMBER.finditer(outside)
    ]


def _placeholders(text: str) -> list[tuple[str, str]]:
    return [(match[0], match[0]) for match in _PLACEHOLDER.finditer(text)]


def _lost(wanted: Iterable[tuple[str, str]], there: Iterable[tuple[str, str]]) -> list[str]:
    """Return what is written of the wanted that is not there, or not as often."""
    left = Counter(key for key, _ in there)
    lost: list[str] = []
    for key, written in wanted:
        if left[key]:
            left[key] -= 1
        else:
            lost.append(written)
    return lost
