"""Search any number of sources, in batches of similar length."""

import hashlib
from collections.abc import Sequence
from itertools import chain

import numpy as np
import torch

from seqtrans.runtime.out_of_memory import Halving, halves_of
from seqtrans.translation.data.batch import Plan, collate_sources, plan_by_length
from seqtrans.translation.protocols import (
    Hypothesis,
    Ids,
    Searcher,
    SearchInput,
    Seq2SeqModel,
    Specials,
    StateT,
)


def search_input(source: Ids) -> SearchInput:
    """Return a sentence with a seed that depends on nothing but its ids."""
    content = np.asarray(source, dtype="<i8").tobytes()
    seed = int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")
    return SearchInput(source, seed)


def plan_inputs(inputs: Sequence[SearchInput], batch_tokens: int) -> Plan:
    """Return which sentences are searched at once, the longest first.

    Args:
        inputs: The sentences.
        batch_tokens: Source positions of a batch at most, padding and EOS counted.
    """
    lengths = np.fromiter((len(one.source) for one in inputs), np.int64, count=len(inputs))
    return plan_by_length(lengths, batch_tokens=batch_tokens)


def search_inputs(
    search: Searcher,
    model: Seq2SeqModel[StateT],
    inputs: Sequence[SearchInput],
    *,
    specials: Specials,
    batches: Plan,
    device: torch.device,
    halving: Halving,
) -> list[list[Hypothesis]]:
    """Return hypotheses of every sentence, best first, in the order of ``inputs``.

    Args:
        search: How.
        model: On ``device``.
        inputs: The sentences; all are held at once.
        specials: Special ids of the source vocabulary.
        batches: Which of them to search, and which at once; the others get no hypotheses, so that
            processes can take their shares of one plan.
        device: Where to search.
        halving: What to do with batches that memory can't hold.
    """

    def search_rows(rows: Sequence[int]) -> list[list[Hypothesis]]:
        batch = [inputs[i] for i in rows]
        source = collate_sources([one.source for one in batch], specials)
        return search(model, source.to(device), batch)

    found: list[list[Hypothesis]] = [[] for _ in inputs]
    for group in batches:
        rows = group.tolist()
        of_rows = chain.from_iterable(halving(rows, search_rows, halves_of))
        for row, hypotheses in zip(rows, of_rows, strict=True):
            found[row] = hypotheses
    return found
