"""Paths through the pieces of many words, drawn backwards after a forward pass over all of them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True, eq=False)
class Lattice:
    """The pieces that each word can be cut into.

    Nodes are the places between characters, numbered from the start of the first word on; a word
    of n characters has n + 1. Edges are pieces, in order of the node where they end.
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
            which: The word of every occurrence.
            generator: Where chance comes from.

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
            edge = np.clip(edge, low, high - 1)  # rounding can lead beside the node
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
