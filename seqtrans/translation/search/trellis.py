"""What a beam search knows after some steps: its hypotheses, and how they came about."""

from dataclasses import dataclass
from typing import NamedTuple

import torch

from seqtrans.tensor_types import Float, Int, Tensor


class Live(NamedTuple):
    """Hypotheses that can still grow, best first; empty slots have log-probability ``-inf``.

    At first there is one, only BOS; then up to ``beam_size``.
    """

    token: Int[Tensor, "B K"]  # the last one
    log_prob: Float[Tensor, "B K"]


class Finished(NamedTuple):
    """The best N finished hypotheses so far, best first; empty slots score ``-inf``."""

    score: Float[Tensor, "B N"]
    length: Int[Tensor, "B N"]  # EOS counted
    slot: Int[Tensor, "B N"]  # of the hypothesis that EOS was added to

    def merge(self, newer: "Finished") -> "Finished":
        """The best N of both; where scores are equal the older ones."""
        score = torch.cat((self.score, newer.score), dim=1)
        best, place = score.sort(dim=1, descending=True, stable=True)
        place = place[:, : self.score.size(1)]
        length = torch.cat((self.length, newer.length), dim=1).gather(1, place)
        slot = torch.cat((self.slot, newer.slot), dim=1).gather(1, place)
        return Finished(best[:, : self.score.size(1)], length, slot)


class Step(NamedTuple):
    """One column of the trellis: what every live hypothesis added, and to which one."""

    token: Int[Tensor, "B K"]
    parent: Int[Tensor, "B K"]  # among the live ones of the step before


@dataclass(frozen=True)
class Search:
    """All that is known about some sentences of a batch after some steps."""

    sentence: Int[Tensor, " B"]  # row of the batch
    limit: Int[Tensor, " B"]  # longest output, EOS counted
    live: Live
    finished: Finished
    trellis: tuple[Step, ...] = ()  # one column per step taken
    history: Int[Tensor, "B K T"] | None = None  # of the live ones, without BOS; None: not kept

    def keep(self, rows: Int[Tensor, " R"]) -> "Search":
        """Drop every sentence but these."""
        return Search(
            self.sentence[rows],
            self.limit[rows],
            Live(*(x[rows] for x in self.live)),
            Finished(*(x[rows] for x in self.finished)),
            tuple(Step(step.token[rows], step.parent[rows]) for step in self.trellis),
            None if self.history is None else self.history[rows],
        )
