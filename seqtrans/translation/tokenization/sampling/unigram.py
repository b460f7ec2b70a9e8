"""Segmentations drawn from a unigram model (arXiv:1804.10959, 3.3).

sentencepiece can do it too, but salts its generator in every process, whatever the seed: a run
that was killed could not go on as it would have.
"""

from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np

from seqtrans.translation.tokenization.sampling.lattice import Lattice
from seqtrans.translation.tokenization.sampling.model_file import PieceType, SubwordModel
from seqtrans.translation.tokenization.sampling.trie import Trie
from seqtrans.translation.tokenization.sampling.words import (
    CLOSING,
    Normalize,
    Symbols,
    split_units,
)

NBest = Callable[[Sequence[str]], Sequence[Sequence[Sequence[int]]]]
"""Ids of the best segmentations of every line."""

_UNKNOWN_PENALTY = 10.0  # sentencepiece's, below the worst piece


class UnigramSampler:
    """Draws each segmentation of a line in proportion to its probability to the power alpha.

    Args:
        model: A unigram model.
        alpha: Near 0 all segmentations are as likely; the larger, the more the best wins.
        normalize: What sentencepiece makes of lines before it cuts them.
    """

    def __init__(self, model: SubwordModel, alpha: float, normalize: Normalize) -> None:
        self._symbols = Symbols(model)
        self._normalize = normalize
        self._by_word = model.cuts_words
        scores = np.array([piece.score for piece in model.pieces])
        kinds = np.array([piece.type for piece in model.pieces])
        worst = scores.min(initial=0.0, where=kinds == PieceType.NORMAL)
        self._scores = alpha * scores
        self._unknown_score = alpha * (worst - _UNKNOWN_PENALTY)
        self._ids = np.array(list(self._symbols.known.values()))
        self._trie = Trie([self._symbols.codes(text) for text in self._symbols.known])

    def __call__(self, lines: Sequence[str], seed: int) -> list[list[int]]:
        """Sample the ids of lines; a pure function of ``lines`` and ``seed``."""
        split = split_units(self._normalize(lines), by_word=self._by_word)
        if not split.units:
            return [[] for _ in lines]
        lattice = self._lattice(split.units)
        owner, symbols = lattice.draw(split.which, np.random.default_rng(seed))
        line = np.repeat(np.arange(len(lines)), split.counts)
        return self._symbols.ids_of(symbols, np.bincount(line[owner], minlength=len(lines)))

    def _lattice(self, units: Sequence[str]) -> Lattice:
        """Build a lattice: every code is an edge, every unit ends with one that no piece holds."""
        spelled = [self._symbols.codes(unit) for unit in units]
        text = np.fromiter(chain.from_iterable((*codes, CLOSING) for codes in spelled), np.int64)
        last = np.flatnonzero(text == CLOSING)
        start, end, number = self._trie.find(text)
        piece = self._ids[number]
        is_known = text == CLOSING
        is_known[start[end == start + 1]] = True
        unknown = np.flatnonzero(~is_known)
        start = np.append(start, unknown)
        end = np.append(end, unknown + 1)
        symbol = np.append(piece, text[unknown] + self._symbols.offset)
        score = np.append(self._scores[piece], np.full(len(unknown), self._unknown_score))
        order = np.argsort(end, kind="stable")
        columns = (column[order] for column in (start, end, symbol, score))
        return Lattice(*columns, first=np.append(0, last[:-1] + 1), last=last)


class NBestSampler:
    """Draws among the best segmentations of a line, as ``UnigramSampler`` does among all.

    Args:
        model: A unigram model.
        alpha: See ``UnigramSampler``.
        nbest: The segmentations to draw from.
    """

    def __init__(self, model: SubwordModel, alpha: float, nbest: NBest) -> None:
        # What is unknown is so in all segmentations of a line, and adds the same to each.
        self._scores = [alpha * piece.score for piece in model.pieces]
        self._nbest = nbest

    def __call__(self, lines: Sequence[str], seed: int) -> list[list[int]]:
        """Sample the ids of lines; a pure function of ``lines`` and ``seed``."""
        chances = np.random.default_rng(seed).random(len(lines))
        return [
            self._drawn(choices, chance)
            for choices, chance in zip(self._nbest(lines), chances.tolist(), strict=True)
        ]

    def _drawn(self, choices: Sequence[Sequence[int]], chance: float) -> list[int]:
        scores = np.array([sum(self._scores[i] for i in ids) for ids in choices])
        weights = np.cumsum(np.exp(scores - scores.max()))
        return list(choices[int(np.searchsorted(weights, chance * weights[-1], "right"))])
