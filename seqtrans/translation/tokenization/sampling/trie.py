"""Finding all pieces at all places of a text at once."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

_NONE = -1


class Trie:
    """Sequences of code points, and where they occur.

    Args:
        sequences: What to find: none empty, no two alike.
    """

    def __init__(self, sequences: Sequence[Sequence[int]]) -> None:
        self._alphabet = 1 + max((code for codes in sequences for code in codes), default=0)
        edges: dict[int, int] = {}  # from a node by a code point to a node; node 0 is the root
        ends = {0: _NONE}
        for number, codes in enumerate(sequences):
            node = 0
            for code in codes:
                node = edges.setdefault(node * self._alphabet + code, len(edges) + 1)
            ends[node] = number
        self._sequence = np.array([ends.get(node, _NONE) for node in range(len(edges) + 1)])
        self._edges = np.array(sorted(edges), dtype=np.int64)
        self._nodes = np.array([edges[edge] for edge in self._edges.tolist()], dtype=np.int64)

    def find(
        self, text: Int[np.ndarray, " P"]
    ) -> tuple[Int[np.ndarray, " M"], Int[np.ndarray, " M"], Int[np.ndarray, " M"]]:
        """Return start, end and number of every sequence at every position of a text."""
        start, node = np.arange(len(text)), np.zeros(len(text), dtype=np.int64)
        found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        length = 0
        while len(start):
            code = text[start + length]
            edge = node * self._alphabet + code
            place = np.minimum(np.searchsorted(self._edges, edge), len(self._edges) - 1)
            goes_on = (self._edges[place] == edge) & (code < self._alphabet)
            start, node, length = start[goes_on], self._nodes[place[goes_on]], length + 1
            ends = self._sequence[node] != _NONE
            found.append((start[ends], start[ends] + length, self._sequence[node[ends]]))
            inside = start + length < len(text)
            start, node = start[inside], node[inside]
        starts, ends, numbers = (np.concatenate(column) for column in zip(*found, strict=True))
        return starts, ends, numbers
