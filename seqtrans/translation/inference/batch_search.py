"""Search any number of sources, in batches of similar length."""

from collections.abc import Sequence
from itertools import chain

import numpy as np
import torch

from seqtrans.runtime.out_of_memory import Halving, halves_of
from seqtrans.translation.data.batch import Ids, collate_sources
from seqtrans.translation.data.batch_plan import Plan, plan_by_length
from seqtrans.translation.protocols import Hypothesis, Searcher, Seq2SeqModel, Specials, StateT


def plan_sources(sources: Sequence[Ids], batch_tokens: int) -> Plan:
    """Which sources are searched at once, the longest first.

    Args:
        sources: Ids without EOS.
        batch_tokens: Source positions of a batch at most, padding and EOS counted.
    """
    lengths = np.fromiter(map(len, sources), np.int64, count=len(sources))
    return plan_by_length(lengths, batch_tokens=batch_tokens)


def search_sources(
    search: Searcher,
    model: Seq2SeqModel[StateT],
    sources: Sequence[Ids],
    *,
    specials: Specials,
    batches: Plan,
    device: torch.device,
    halving: Halving,
) -> list[list[Hypothesis]]:
    """Hypotheses of every source, best first, in the order of ``sources``.

    Args:
        search: How.
        model: On ``device``.
        sources: Ids without EOS; all are held at once.
        specials: Special ids of the source vocabulary.
        batches: Which of them to search, and which at once; the others get no hypotheses, so that
            processes can take their shares of one plan.
        device: Where to search.
        halving: What to do with batches that memory can't hold.
    """

    def search_rows(rows: Sequence[int]) -> list[list[Hypothesis]]:
        return search(model, collate_sources([sources[i] for i in rows], specials).to(device))

    found: list[list[Hypothesis]] = [[] for _ in sources]
    for group in batches:
        rows = group.tolist()
        of_rows = chain.from_iterable(halving(rows, search_rows, halves_of))
        for row, hypotheses in zip(rows, of_rows, strict=True):
            found[row] = hypotheses
    return found
