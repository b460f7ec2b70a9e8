"""BPE dropout (arXiv:1910.13267, algorithm 1), for all words at once.

sentencepiece can do it too, but its generator differs in every process, whatever the seed: a
resumed run would not equal one without a break.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from seqtrans.translation.tokenization.sampling.model_file import SubwordModel
from seqtrans.translation.tokenization.sampling.words import (
    CLOSING,
    Normalize,
    Symbols,
    split_units,
)

_NO_RANK = np.iinfo(np.int64).max


class BpeDropoutSampler:
    """Merges as BPE does, but leaves out each possible merge of each step with a probability.

    Args:
        model: A BPE model.
        probability: 0 gives the usual segmentation, 1 single characters.
        normalize: Normalization of lines by sentencepiece.
    """

    def __init__(self, model: SubwordModel, probability: float, normalize: Normalize) -> None:
        self._symbols = Symbols(model)
        self._normalize = normalize
        self._by_word = model.cuts_words
        self._probability = probability
        self._merges = _merges_of(model)

    def __call__(self, lines: Sequence[str], seed: int) -> list[list[int]]:
        """Sample the ids of lines; a pure function of ``lines`` and ``seed``."""
        split = split_units(self._normalize(lines), by_word=self._by_word)
        if not split.units:
            return [[] for _ in lines]
        symbols = self._symbols
        spelled = [list(map(symbols.of, symbols.codes(unit))) for unit in split.units]
        sizes = np.fromiter(map(len, spelled), np.int64, count=len(spelled))[split.which]
        generator = np.random.default_rng(seed)
        merged: list[list[int]] = [[]] * len(split.which)
        for size in np.unique(sizes).tolist():
            occurrences = np.flatnonzero(sizes == size)
            rows = np.array([spelled[i] for i in split.which[occurrences].tolist()])
            for numbers, done in self._merged(rows, generator):
                lists = done.tolist()
                for number, row in zip(occurrences[numbers].tolist(), lists, strict=True):
                    merged[number] = row
        line = np.repeat(np.arange(len(lines)), split.counts)
        pieces = np.fromiter(map(len, merged), np.int64, count=len(merged))
        lengths = np.bincount(line, weights=pieces, minlength=len(lines)).astype(np.int64)
        return symbols.ids_of(np.array([s for row in merged for s in row]), lengths)

    def _merged(
        self, rows: Int[np.ndarray, "N S"], generator: np.random.Generator
    ) -> Iterator[tuple[Int[np.ndarray, " R"], Int[np.ndarray, "R S"]]]:
        """Merge words of one size step by step; yield those that are done at each step."""
        numbers = np.arange(len(rows))
        while len(rows) and rows.shape[1] > 1:
            ranks, results = self._merges.find(rows[:, :-1], rows[:, 1:])
            ranks[generator.random(ranks.shape) < self._probability] = _NO_RANK
            best = ranks.argmin(axis=1)
            each = np.arange(len(rows))
            goes_on = ranks[each, best] != _NO_RANK
            yield numbers[~goes_on], rows[~goes_on]
            rows[each, best] = results[each, best]
            stays = np.arange(rows.shape[1]) != best[:, None] + 1
            size = rows.shape[1] - 1
            rows = rows[goes_on][stays[goes_on]].reshape(-1, size)
            numbers = numbers[goes_on]
        yield numbers, rows


@dataclass(frozen=True, eq=False)
class _Merges:
    """Pairs of symbols that make a piece."""

    stride: int
    pairs: Int[np.ndarray, " M"]  # left * stride + right, ascending
    ranks: Int[np.ndarray, " M"]  # the lowest is merged first
    results: Int[np.ndarray, " M"]

    def find(
        self, left: Int[np.ndarray, "N S"], right: Int[np.ndarray, "N S"]
    ) -> tuple[Int[np.ndarray, "N S"], Int[np.ndarray, "N S"]]:
        """Return rank and result of merging neighbors; the last rank if they do not merge."""
        if not len(self.pairs):
            return np.full(left.shape, _NO_RANK), left
        wanted = left * self.stride + right
        place = np.minimum(np.searchsorted(self.pairs, wanted), len(self.pairs) - 1)
        return np.where(self.pairs[place] == wanted, self.ranks[place], _NO_RANK), (
            self.results[place]
        )


def _merges_of(model: SubwordModel) -> _Merges:
    """Return the mergeable pairs of a model; user-defined symbols are never merged."""
    symbols = Symbols(model)
    parts = {text: i for text, i in symbols.known.items() if not model.is_defined(i)}
    merges: list[tuple[int, int, float, int]] = []
    for text, result in parts.items():
        for cut in range(1, len(text)):
            # A character that is not a piece can still be a part of one.
            left, right = (
                symbols.of(ord(part)) if len(part) == 1 else parts.get(part)
                for part in (text[:cut], text[cut:])
            )
            if left is not None and right is not None:
                merges.append((left, right, -model.pieces[result].score, result))
    stride = symbols.of(CLOSING + len(model.pieces))
    columns = zip(*merges, strict=True) if merges else ((),) * 4
    lefts, rights, scores, results = (np.array(column) for column in columns)
    pairs = lefts.astype(np.int64) * stride + rights.astype(np.int64)
    order = np.argsort(pairs)
    ranks = np.unique(scores, return_inverse=True)[1]
    return _Merges(stride, pairs[order], ranks[order], results[order].astype(np.int64))
