"""The state of a beam search between two steps."""

from dataclasses import dataclass
from typing import NamedTuple

import torch

from seqtrans.tensor_types import Float, Int, Tensor
from seqtrans.translation.search.constraints import Constraints


class Live(NamedTuple):
    """Hypotheses that can grow, best first; log-probability ``-inf`` marks an empty slot.

    Before the first step there is one (K = 1), with BOS alone; later up to ``beam_size``.
    """

    token: Int[Tensor, "B K"]  # the last one
    log_prob: Float[Tensor, "B K"]


class Finished(NamedTuple):
    """The best N finished hypotheses, best first; score ``-inf`` marks an empty slot."""

    score: Float[Tensor, "B N"]
    length: Int[Tensor, "B N"]  # with EOS
    slot: Int[Tensor, "B N"]  # of the live hypothesis before EOS

    def merge(self, newer: "Finished") -> "Finished":
        """Return the best N of both; of equal scores, the older hypothesis comes first."""
        score = torch.cat((self.score, newer.score), dim=1)
        best, place = score.sort(dim=1, descending=True, stable=True)
        place = place[:, : self.score.size(1)]
        length = torch.cat((self.length, newer.length), dim=1).gather(1, place)
        slot = torch.cat((self.slot, newer.slot), dim=1).gather(1, place)
        return Finished(best[:, : self.score.size(1)], length, slot)


class Step(NamedTuple):
    """The token of each live hypothesis at one step, and the hypothesis that it continued."""

    token: Int[Tensor, "B K"]
    parent: Int[Tensor, "B K"]  # slot in the previous step


@dataclass(frozen=True)
class Search:
    """State of the search for the sentences that are not done."""

    sentence: Int[Tensor, " B"]  # row of the batch
    limit: Int[Tensor, " B"]  # maximum output length with EOS
    live: Live
    finished: Finished
    steps: tuple[Step, ...] = ()
    ended: Int[Tensor, " B"] | None = None  # hypotheses that ended; None: stopping is exact
    prefix: Int[Tensor, "B P"] | None = None  # tokens that the output begins with; -1: no more
    constraints: Constraints | None = None  # phrases of any sentence
    history: Int[Tensor, "B K T"] | None = None  # live tokens without BOS; None: rules need none

    def keep(self, rows: Int[Tensor, " R"]) -> "Search":
        """Keep only these sentences."""
        return Search(
            self.sentence[rows],
            self.limit[rows],
            Live(*(x[rows] for x in self.live)),
            Finished(*(x[rows] for x in self.finished)),
            tuple(Step(step.token[rows], step.parent[rows]) for step in self.steps),
            None if self.ended is None else self.ended[rows],
            None if self.prefix is None else self.prefix[rows],
            None if self.constraints is None else self.constraints.keep(rows),
            None if self.history is None else self.history[rows],
        )
