"""Beam search with many length penalties at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from seqtrans.tensor_types import Float, Int, Tensor
from seqtrans.translation.search.beam import BeamSearch, Finished


@dataclass(frozen=True, kw_only=True)
class LengthPenaltySearch(BeamSearch):
    """Beam search for the best hypothesis by each of several length penalties.

    Each is the one that a search with this penalty alone finds. The penalty decides which finished
    hypothesis is the best, and when none can become better; what grows does not depend on it. A
    search that is done with one penalty is done with every lower one, since the higher the penalty,
    the more a live hypothesis can gain by growing. So the highest one decides when to stop.

    Build it with ``with_penalties``. A sentence has one hypothesis for each of ``penalties``, in
    their order, with its score by that one.
    """

    penalties: tuple[float, ...]

    def merge(
        self,
        finished: Finished,
        log_prob: Float[Tensor, "B C"],
        length: int,
        slot: Int[Tensor, "B C"],
    ) -> Finished:
        """See ``BeamSearch.merge``; column n is the best by penalty n."""
        best, place = log_prob.max(dim=1, keepdim=True)  # by any penalty: all are equally long
        divisors = [length**penalty for penalty in self.penalties]
        score = best / best.new_tensor(divisors)
        is_better = score > finished.score
        return Finished(
            torch.where(is_better, score, finished.score),
            finished.length.masked_fill(is_better, length),
            torch.where(is_better, slot.gather(1, place), finished.slot),
        )


def with_penalties(search: BeamSearch, penalties: Sequence[float]) -> LengthPenaltySearch:
    """Return a search like ``search``, for each of several length penalties.

    Raises:
        ValueError: The penalties are not ascending.
    """
    if not penalties or list(penalties) != sorted(set(penalties)):
        raise ValueError(f"length penalties must be ascending, not {penalties}")
    return LengthPenaltySearch(
        rules=search.rules,
        beam_size=search.beam_size,
        length_penalty=penalties[-1],
        enough=search.enough,
        spare=len(penalties) - 1,  # one finished hypothesis for each; ``is_done`` asks the last
        penalties=tuple(penalties),
    )
