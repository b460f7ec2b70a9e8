"""Search any number of sources, in batches of similar length."""

from collections.abc import Sequence

import numpy as np
import torch

from seqtrans.data.batch import Ids, collate_sources
from seqtrans.data.batching import plan_by_length
from seqtrans.protocols import Hypothesis, Searcher, Seq2SeqModel, Specials, StateT


def search_sources(
    search: Searcher,
    model: Seq2SeqModel[StateT],
    sources: Sequence[Ids],
    *,
    specials: Specials,
    batch_tokens: int,
    device: torch.device,
    part: slice = slice(None),
) -> list[list[Hypothesis]]:
    """Hypotheses of every source, best first, in the order of ``sources``.

    Args:
        search: How.
        model: On ``device``.
        sources: Ids without EOS; all are held at once.
        specials: Special ids of the source vocabulary.
        batch_tokens: Source positions searched at once, padding and EOS counted.
        device: Where to search.
        part: Which of the batches to search, of those made of all sources, so that N processes
            can take every Nth; the sources of others get no hypotheses.
    """
    found: list[list[Hypothesis]] = [[] for _ in sources]
    lengths = np.fromiter(map(len, sources), np.int64, count=len(sources))
    for group in plan_by_length(lengths, batch_tokens=batch_tokens)[part]:
        rows = group.tolist()
        source, mask = collate_sources([sources[i] for i in rows], specials)
        of_rows = search(model, source.to(device), mask.to(device))
        for row, hypotheses in zip(rows, of_rows, strict=True):
            found[row] = hypotheses
    return found
