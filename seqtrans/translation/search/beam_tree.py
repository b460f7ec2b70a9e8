"""The tree of all hypotheses that a beam search kept."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import NamedTuple

from seqtrans.tensor_types import Float, Int, Tensor
from seqtrans.translation.search.beam import BeamSearch, Finished, Search
from seqtrans.translation.search.top_k import NEVER


class Node(NamedTuple):
    """A token of one hypothesis or several.

    Attributes:
        parent: Number of the node before it; -1 for BOS, the first node.
        token: Id of the token.
        log_prob: Log-probability of the hypothesis up to it.
        score: Length-normalized score, where a hypothesis ends (in EOS).
    """

    parent: int
    token: int
    log_prob: float
    score: float | None = None


@dataclass(frozen=True, kw_only=True)
class RecordedBeamSearch(BeamSearch):
    """Beam search that records the hypotheses of one sentence in ``nodes``; see ``recorded``."""

    nodes: list[Node] = field(default_factory=list[Node])
    slots: list[int] = field(default_factory=list[int])  # node of each live hypothesis

    def advance(self, search: Search, log_probs: Float[Tensor, "B K V"]) -> Search:
        """See ``BeamSearch.advance``."""
        if not search.steps:
            self.nodes[:], self.slots[:] = [Node(-1, self.rules.bos, 0.0)], [0]
        later = super().advance(search, log_probs)
        rows = (later.steps[-1].parent[0], later.steps[-1].token[0], later.live.log_prob[0])
        before, self.slots[:] = list(self.slots), []
        for parent, token, log_prob in zip(*(row.tolist() for row in rows), strict=True):
            self.slots.append(len(self.nodes))
            if log_prob > NEVER:
                self.nodes.append(Node(before[parent], token, log_prob))
        return later

    def merge(
        self,
        finished: Finished,
        log_prob: Float[Tensor, "B C"],
        length: int,
        slot: Int[Tensor, "B C"],
    ) -> Finished:
        """See ``BeamSearch.merge``."""
        rows = (log_prob[0], self.score(log_prob, length)[0], slot[0])
        for total, score, parent in zip(*(row.tolist() for row in rows), strict=True):
            if total > NEVER:
                self.nodes.append(Node(self.slots[parent], self.rules.eos, total, score))
        return super().merge(finished, log_prob, length, slot)


def recorded(search: BeamSearch) -> RecordedBeamSearch:
    """Return a search like ``search`` that records one sentence; it must not get several."""
    settings = {item.name: getattr(search, item.name) for item in fields(BeamSearch)}
    return RecordedBeamSearch(**settings)


def ranks(nodes: Sequence[Node]) -> dict[int, int]:
    """Return the rank of each node that ends a hypothesis, the best first, from 1."""
    ended = [(node.score, -i) for i, node in enumerate(nodes) if node.score is not None]
    return {-i: rank for rank, (_, i) in enumerate(sorted(ended, reverse=True), start=1)}
