"""The words of normalized lines, each once: what segmentations are drawn for."""

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from seqtrans.translation.tokenization.sampling.model_file import SPACE, SubwordModel

Normalize = Callable[[Sequence[str]], Sequence[str]]
"""Lines to normalized lines."""

CLOSING = sys.maxunicode + 1
"""A code that no text holds: what stands behind a unit."""


@dataclass(frozen=True, eq=False)
class Units:
    """Lines as sequences of different units, which are segmented independently of each other."""

    units: Sequence[str]  # no two alike, none empty
    which: Int[np.ndarray, " N"]  # index into units of every occurrence, line after line
    counts: Int[np.ndarray, " lines"]  # occurrences of each line


def split_units(lines: Sequence[str], *, by_word: bool) -> Units:
    """Cut lines before every space.

    Args:
        lines: Text as sentencepiece normalized it.
        by_word: False where pieces reach from word to word: then a line is one unit.
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
    """What lines are made of: ids of pieces, and after them a number for every code.

    A code is a character of Unicode, or one of the strings that the user defined: these are always
    one piece, and so nothing else is made of their characters.

    Args:
        model: Says what the pieces are.
    """

    def __init__(self, model: SubwordModel) -> None:
        self.known = model.matched
        self.offset = len(model.pieces)  # between a code and what stands for it
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
        """Return the piece that is a code, or its placeholder until ``ids_of``."""
        return self._single.get(code, self.offset + code)

    def ids_of(
        self, symbols: Int[np.ndarray, " P"], lengths: Int[np.ndarray, " lines"]
    ) -> list[list[int]]:
        """Return the ids of lines, each of a given number of symbols.

        An unknown character is spelled in bytes; without these, a run of them is one unknown token.
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
