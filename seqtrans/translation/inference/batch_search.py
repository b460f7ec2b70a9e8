"""Search translations of any number of sentences, in batches of similar length."""

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
    """Return a sentence with a seed that depends on its ids alone."""
    content = np.asarray(source, dtype="<i8").tobytes()
    seed = int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")
    return SearchInput(source, seed)


def plan_inputs(inputs: Sequence[SearchInput], batch_tokens: int) -> Plan:
    """Plan batches of sentences, the longest first.

    Args:
        inputs: Sentences.
        batch_tokens: Most source positions of a batch, padding and EOS included.
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
        search: Search to use.
        model: Model, on ``device``.
        inputs: Sentences.
        specials: Special ids of the source vocabulary.
        batches: Batches to search. Sentences in none of them get no hypotheses, so that processes
            can share one plan.
        device: Where to search.
        halving: Splits batches that do not fit into memory.
    """

    def search_rows(rows: Sequence[int]) -> list[list[Hypothesis]]:
        batch = [inputs[i] for i in rows]
        source = collate_sources([one.source for one in batch], specials)
        return search(model, source.to(device), batch)

    results: list[list[Hypothesis]] = [[] for _ in inputs]
    for batch in batches:
        rows = batch.tolist()
        of_rows = chain.from_iterable(halving(rows, search_rows, halves_of))
        for row, hypotheses in zip(rows, of_rows, strict=True):
            results[row] = hypotheses
    return results
