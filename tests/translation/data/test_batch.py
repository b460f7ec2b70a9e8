"""Collating: every id arrives once, at its place, between the right specials."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtrans.translation.data.batch import collate_pairs, collate_sources
from seqtrans.translation.protocols import SourceBatch, Specials

SOURCE, TARGET = Specials(0, 1, 2, 3), Specials(pad=7, bos=5, eos=9, unk=6)
sentences = st.lists(st.integers(10, 70_000), max_size=6)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(sentences, sentences), min_size=1, max_size=5), st.booleans())
def test_rows_hold_the_ids_between_their_specials(pairs, as_arrays):
    given_pairs = [(np.array(s, "<u4"), np.array(t, "<i4")) for s, t in pairs]
    batch = collate_pairs(given_pairs if as_arrays else pairs, SOURCE, TARGET)
    for row, (source, target) in enumerate(pairs):
        s, t = len(source) + 1, len(target) + 1
        assert batch.source.tokens[row, :s].tolist() == [*source, SOURCE.eos]
        assert batch.target_input[row, :t].tolist() == [TARGET.bos, *target]
        assert batch.target_output[row, :t].tolist() == [*target, TARGET.eos]
        assert batch.source.mask[row].tolist() == [
            i < s for i in range(batch.source.tokens.size(1))
        ]
        assert batch.target_mask[row].tolist() == [i < t for i in range(batch.target_mask.size(1))]
        assert set(batch.source.tokens[row, s:].tolist()) <= {SOURCE.pad}
        assert set(batch.target_input[row, t:].tolist()) <= {TARGET.pad}
        assert set(batch.target_output[row, t:].tolist()) <= {TARGET.pad}
    assert batch.source.tokens.size(1) == max(len(s) for s, _ in pairs) + 1
    assert batch.target_output.size(1) == max(len(t) for _, t in pairs) + 1
    assert batch.num_targets == int(batch.target_mask.sum())
    assert batch.num_padded == int((~batch.target_mask).sum())


def test_tensors_are_int64_whatever_the_rows_are():
    row = np.array([10, 65_535], "<u2")
    batch = collate_pairs([(row, row)], SOURCE, TARGET)
    assert {batch.source.tokens.dtype, batch.target_input.dtype, batch.target_output.dtype} == {
        torch.int64
    }


def test_a_copy_keeps_the_counts_and_the_numbers():
    batch = collate_pairs([([10], [10, 11]), ([], [])], SOURCE, TARGET)
    copy = batch.to(torch.device("cpu"))
    assert (copy.num_targets, copy.num_padded) == (4, 2)
    assert torch.equal(copy.target_input, batch.target_input)


def test_an_empty_batch_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        collate_sources([], SOURCE)


def test_factors_go_where_their_tokens_go():
    tokens = torch.arange(12).view(4, 3)
    batch = SourceBatch(tokens, tokens > 3, (tokens + 100, tokens + 200))
    for kept in (batch.keep(slice(1, 3)), batch.keep(torch.tensor([1, 2]))):
        assert len(kept) == 2
        assert torch.equal(kept.mask, tokens[1:3] > 3)
        assert [f.tolist() for f in kept.factors] == [
            (kept.tokens + n).tolist() for n in (100, 200)
        ]
    moved = batch.to(torch.device("meta"))
    assert {t.device.type for t in (moved.tokens, moved.mask, *moved.factors)} == {"meta"}


def test_halves_and_copies_of_a_batch_keep_the_factors():
    batch = collate_pairs([([10], [10]), ([11, 12], []), ([13], [14])], SOURCE, TARGET)
    factor = batch.source.tokens * 2
    batch = replace(batch, source=replace(batch.source, factors=(factor,)))
    first, last = batch.halves()
    assert torch.equal(torch.cat((first.source.factors[0], last.source.factors[0])), factor)
    assert torch.equal(batch.to(torch.device("cpu")).source.factors[0], factor)
