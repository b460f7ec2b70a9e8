"""Sample segmentations from a unigram model (arXiv:1804.10959, section 3.3).

sentencepiece can do it too, but its generator differs in every process, whatever the seed: a
resumed run would not equal one without a break.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from jaxtyping import Float, Int

from seqtrans.translation.tokenization.sampling.model_file import PieceType, SubwordModel
from seqtrans.translation.tokenization.sampling.words import (
    CLOSING,
    Normalize,
    Symbols,
    split_units,
)

NBest = Callable[[Sequence[str]], Sequence[Sequence[Sequence[int]]]]
"""Returns the ids of the best segmentations of every line."""

_NO_SEQUENCE = -1
_UNKNOWN_PENALTY = 10.0  # sentencepiece's, below the worst piece


class UnigramSampler:
    """Draws each segmentation of a line in proportion to its probability to the power alpha.

    Args:
        model: A unigram model.
        alpha: With 0 all segmentations are equally likely; the larger, the likelier the best.
        normalize: Normalization of lines by sentencepiece.
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

    def _lattice(self, units: Sequence[str]) -> "Lattice":
        """Build a lattice: every code is an edge, and every unit ends with ``CLOSING``."""
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
    """Draws among the n best segmentations of a line, as ``UnigramSampler`` does among all.

    Args:
        model: A unigram model.
        alpha: See ``UnigramSampler``.
        nbest: The segmentations to draw from.
    """

    def __init__(self, model: SubwordModel, alpha: float, nbest: NBest) -> None:
        # Unknown characters are the same in all segmentations of a line, and add the same score.
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


@dataclass(frozen=True, eq=False)
class Lattice:
    """All segmentations of words.

    Nodes are the places between characters, numbered from the start of the first word; a word of n
    characters has n + 1. Edges are pieces, sorted by the node where they end. Paths are drawn
    backwards after a forward pass.
    """

    start: Int[np.ndarray, " E"]  # node before the piece
    end: Int[np.ndarray, " E"]  # node after it
    symbol: Int[np.ndarray, " E"]  # what the piece is
    score: Float[np.ndarray, " E"]  # its unnormalized log-probability
    first: Int[np.ndarray, " U"]  # first node of every word
    last: Int[np.ndarray, " U"]  # last node of every word

    def draw(
        self, which: Int[np.ndarray, " N"], generator: np.random.Generator
    ) -> tuple[Int[np.ndarray, " P"], Int[np.ndarray, " P"]]:
        """Draw a path for every occurrence of a word, in proportion to its probability.

        Args:
            which: Word of every occurrence.
            generator: Generator of random numbers.

        Returns:
            The occurrence that every piece belongs to, ascending, and what the piece is; the
            pieces of an occurrence from left to right.
        """
        cumulated = np.append(0.0, np.cumsum(self._chances()))
        bounds = np.searchsorted(self.end, np.arange(self.last[-1] + 2))  # edges into each node
        node, active = self.last[which], np.arange(len(which))
        owners: list[np.ndarray] = []
        edges: list[np.ndarray] = []
        while len(active):
            low, high = bounds[node], bounds[node + 1]
            span = cumulated[high] - cumulated[low]
            wanted = cumulated[low] + generator.random(len(node)) * span
            edge = np.searchsorted(cumulated, wanted, "right") - 1
            edge = np.clip(edge, low, high - 1)  # rounding can lead past the edges of the node
            owners.append(active)
            edges.append(edge)
            node = self.start[edge]
            unfinished = node != self.first[which[active]]
            node, active = node[unfinished], active[unfinished]
        owner = np.concatenate(owners[::-1])
        order = np.argsort(owner, kind="stable")
        return owner[order], self.symbol[np.concatenate(edges[::-1])][order]

    def _chances(self) -> Float[np.ndarray, " E"]:
        """Return, for every edge, the probability that a path through its end uses it."""
        base = np.repeat(self.first, self.last - self.first + 1)
        position = self.end - base[self.end]
        order = np.argsort(position, kind="stable")
        total = np.zeros(self.last[-1] + 1)  # log-sum of all paths from the word's start to a node
        for edges in np.split(order, np.cumsum(np.bincount(position))[:-1]):
            if len(edges):
                scores = total[self.start[edges]] + self.score[edges]
                ends, begins = np.unique(self.end[edges], return_index=True)
                total[ends] = np.logaddexp.reduceat(scores, begins)
        return np.exp(total[self.start] + self.score - total[self.end])


class Trie:
    """Finds sequences of code points at all places of a text at once.

    Args:
        sequences: Sequences to find: distinct, and none empty.
    """

    def __init__(self, sequences: Sequence[Sequence[int]]) -> None:
        self._alphabet = 1 + max((code for codes in sequences for code in codes), default=0)
        edges: dict[int, int] = {}  # from a node by a code point to a node; node 0 is the root
        ends = {0: _NO_SEQUENCE}
        for number, codes in enumerate(sequences):
            node = 0
            for code in codes:
                node = edges.setdefault(node * self._alphabet + code, len(edges) + 1)
            ends[node] = number
        self._sequence = np.array([ends.get(node, _NO_SEQUENCE) for node in range(len(edges) + 1)])
        self._edges = np.array(sorted(edges), dtype=np.int64)
        self._nodes = np.array([edges[edge] for edge in self._edges.tolist()], dtype=np.int64)

    def find(
        self, text: Int[np.ndarray, " P"]
    ) -> tuple[Int[np.ndarray, " M"], Int[np.ndarray, " M"], Int[np.ndarray, " M"]]:
        """Return start, end and number of every sequence at every position of a text."""
        start, node = np.arange(len(text)), np.zeros(len(text), dtype=np.int64)
        matches: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        length = 0
        while len(start):
            code = text[start + length]
            edge = node * self._alphabet + code
            place = np.minimum(np.searchsorted(self._edges, edge), len(self._edges) - 1)
            goes_on = (self._edges[place] == edge) & (code < self._alphabet)
            start, node, length = start[goes_on], self._nodes[place[goes_on]], length + 1
            ends = self._sequence[node] != _NO_SEQUENCE
            matches.append((start[ends], start[ends] + length, self._sequence[node[ends]]))
            inside = start + length < len(text)
            start, node = start[inside], node[inside]
        starts, ends, numbers = (np.concatenate(column) for column in zip(*matches, strict=True))
        return starts, ends, numbers
