"""Find characters that segmentation changes, or that have no token."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from seqtrans.translation.protocols import Segmenter
from seqtrans.translation.tokenization.words_and_characters import TokenSegmenter

_SHOWN = 3


@dataclass
class Changes:
    """Changes of text by encoding and decoding.

    Attributes:
        unit: ``characters``, or ``words`` if these are the tokens.
        lines: Number of lines.
        total: Number of units in them.
        changed: Occurrences of each unit that is changed.
        becomes: What each changed unit becomes.
        unknown: Occurrences of each unit that has no token.
        changed_lines: Number of lines with a changed unit.
    """

    unit: str
    lines: int
    total: int = 0
    changed: Counter[str] = field(default_factory=Counter[str])
    becomes: dict[str, str] = field(default_factory=dict[str, str])
    unknown: Counter[str] = field(default_factory=Counter[str])
    changed_lines: int = 0

    @property
    def examples_of_changed(self) -> str:
        """Describe the most frequent changes."""
        common = (unit for unit, _ in self.changed.most_common(_SHOWN))
        return ", ".join(f"{_shown(unit)} -> {_shown(self.becomes[unit])}" for unit in common)

    @property
    def examples_of_unknown(self) -> str:
        """Describe the most frequent unknown units."""
        return ", ".join(_shown(unit) for unit, _ in self.unknown.most_common(_SHOWN))


def find_changes(segmenter: Segmenter, lines: Sequence[str]) -> Changes:
    """Encode and decode every distinct character of ``lines``, or word if words are the tokens.

    Leading, trailing and repeated spaces are ignored.
    """
    by_word = isinstance(segmenter, TokenSegmenter) and segmenter.unit == "words"
    changes = Changes("words" if by_word else "characters", len(lines))
    split = [Counter(_words(line) if by_word else _characters(line)) for line in lines]
    counts: Counter[str] = Counter()
    for units in split:
        counts.update(units)
    changes.total = counts.total()
    beside = "" if by_word else _unchanged(segmenter, counts)
    encoded = segmenter.encode([f"{beside}{unit}{beside}" for unit in counts])
    for unit, ids in zip(counts, encoded, strict=True):
        if segmenter.specials.unk in ids:
            changes.unknown[unit] = counts[unit]
            continue
        text = segmenter.decode(ids)
        if text != f"{beside}{unit}{beside}":
            changes.changed[unit] = counts[unit]
            changes.becomes[unit] = text.removeprefix(beside).removesuffix(beside)
    changes.changed_lines = sum(not changes.changed.keys().isdisjoint(units) for units in split)
    return changes


def _words(line: str) -> list[str]:
    return list(filter(None, line.split(" ")))


def _characters(line: str) -> list[str]:
    """Split into characters with their combining marks, which normalization may join."""
    if unicodedata.is_normalized("NFC", line):
        return list(line.replace(" ", ""))
    characters: list[str] = []
    for character in line.replace(" ", ""):
        if characters and unicodedata.combining(character):
            characters[-1] += character
        else:
            characters.append(character)
    return characters


def _unchanged(segmenter: Segmenter, counts: Counter[str]) -> str:
    """Return a letter that does not change, to put around white space."""
    letters = [unit for unit, _ in counts.most_common() if unit.isalpha()]
    texts = map(segmenter.decode, segmenter.encode(letters))
    return next((unit for unit, text in zip(letters, texts, strict=True) if unit == text), "")


def _shown(text: str) -> str:
    """Return text with invisible characters as their code points."""
    if not text:
        return "nothing"
    if text == " ":
        return "space"
    if all(c.isprintable() and not unicodedata.combining(c) for c in text) and text.strip():
        return text
    return " ".join(f"U+{ord(c):04X}" for c in text)
