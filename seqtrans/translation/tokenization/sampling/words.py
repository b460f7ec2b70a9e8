"""Split normalized lines into distinct words, for which segmentations are sampled."""

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from seqtrans.translation.tokenization.sampling.model_file import SPACE, SubwordModel

Normalize = Callable[[Sequence[str]], Sequence[str]]
"""Returns normalized lines."""

CLOSING = sys.maxunicode + 1
"""A code that is in no text, for the end of a unit."""


@dataclass(frozen=True, eq=False)
class Units:
    """Lines as sequences of distinct units, which are segmented independently."""

    units: Sequence[str]  # distinct, none empty
    which: Int[np.ndarray, " N"]  # index into units of every occurrence, line after line
    counts: Int[np.ndarray, " lines"]  # occurrences of each line


def split_units(lines: Sequence[str], *, by_word: bool) -> Units:
    """Split lines before every space.

    Args:
        lines: Text normalized by sentencepiece.
        by_word: False if pieces extend over several words: then a line is one unit.
    """
    index: dict[str, int] = {}
    which: list[int] = []
    counts: list[int] = []
    for line in lines:
        before = len(which)
        first, *rest = line.split(SPACE) if by_word else [line]
        if first:
            which.append(index.setdefault(first, len(index)))
        which += [index.setdefault(SPACE + word, len(index)) for word in rest]
        counts.append(len(which) - before)
    return Units(list(index), np.array(which, dtype=np.int64), np.array(counts, dtype=np.int64))


class Symbols:
    """Symbols of lines: ids of pieces, and after them a number for every code.

    A code is a character of Unicode, or a user-defined string, which is always one piece.

    Args:
        model: The pieces.
    """

    def __init__(self, model: SubwordModel) -> None:
        self.known = model.matched
        self.offset = len(model.pieces)  # of the number of a code
        self._byte_ids, self._unknown_id = model.byte_ids, model.unknown_id
        defined = [text for text, i in self.known.items() if model.is_defined(i)]
        self._defined = {text: CLOSING + 1 + i for i, text in enumerate(defined)}
        longest_first = sorted(defined, key=len, reverse=True)
        self._splitter = re.compile(f"({'|'.join(map(re.escape, longest_first))})")
        codes = {i: self.codes(text) for text, i in self.known.items()}
        self._single = {code: i for i, (code, *more) in codes.items() if not more}

    def codes(self, text: str) -> list[int]:
        """Return the codes of a text."""
        if not self._defined:
            return list(map(ord, text))
        parts = filter(None, self._splitter.split(text))
        return [
            code
            for part in parts
            for code in ([self._defined[part]] if part in self._defined else map(ord, part))
        ]

    def of(self, code: int) -> int:
        """Return the piece of a code, or the number of the code until ``ids_of``."""
        return self._single.get(code, self.offset + code)

    def ids_of(
        self, symbols: Int[np.ndarray, " P"], lengths: Int[np.ndarray, " lines"]
    ) -> list[list[int]]:
        """Return the ids of lines with the given numbers of symbols.

        An unknown character is spelled in bytes; without bytes, a run of them is one unknown token.
        """
        ends = np.cumsum(lengths)
        flat = symbols.tolist()
        rows = [flat[end - n : end] for end, n in zip(ends.tolist(), lengths.tolist(), strict=True)]
        foreign = np.searchsorted(ends, np.flatnonzero(symbols >= self.offset), "right")
        for row in np.unique(foreign).tolist():
            rows[row] = self._spelled(rows[row])
        return rows

    def _spelled(self, row: Sequence[int]) -> list[int]:
        ids: list[int] = []
        was_unknown = False
        for symbol in row:
            is_unknown = symbol >= self.offset
            if not is_unknown:
                ids.append(symbol)
            elif self._byte_ids is not None:
                ids += [self._byte_ids[byte] for byte in chr(symbol - self.offset).encode()]
            elif not was_unknown:
                ids.append(self._unknown_id)
            was_unknown = is_unknown
        return ids
