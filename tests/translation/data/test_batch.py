"""Collating: every id arrives once, at its place, between the right specials."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtrans.translation.data.batch import collate_pairs, collate_sources
from seqtrans.translation.protocols import Specials

SOURCE, TARGET = Specials(0, 1, 2, 3), Specials(pad=7, bos=5, eos=9, unk=6)
sentences = st.lists(st.integers(10, 70_000), max_size=6)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(sentences, sentences), min_size=1, max_size=5), st.booleans())
def test_rows_hold_the_ids_between_their_specials(pairs, as_arrays):
    given_pairs = [(np.array(s, "<u4"), np.array(t, "<i4")) for s, t in pairs]
    batch = collate_pairs(given_pairs if as_arrays else pairs, SOURCE, TARGET)
    for row, (source, target) in enumerate(pairs):
        s, t = len(source) + 1, len(target) + 1
        assert batch.source[row, :s].tolist() == [*source, SOURCE.eos]
        assert batch.target_input[row, :t].tolist() == [TARGET.bos, *target]
        assert batch.target_output[row, :t].tolist() == [*target, TARGET.eos]
        assert batch.source_mask[row].tolist() == [i < s for i in range(batch.source.size(1))]
        assert batch.target_mask[row].tolist() == [i < t for i in range(batch.target_mask.size(1))]
        assert set(batch.source[row, s:].tolist()) <= {SOURCE.pad}
        assert set(batch.target_input[row, t:].tolist()) <= {TARGET.pad}
        assert set(batch.target_output[row, t:].tolist()) <= {TARGET.pad}
    assert batch.source.size(1) == max(len(s) for s, _ in pairs) + 1
    assert batch.target_output.size(1) == max(len(t) for _, t in pairs) + 1
    assert batch.num_targets == int(batch.target_mask.sum())
    assert batch.num_padded == int((~batch.target_mask).sum())


def test_tensors_are_int64_whatever_the_rows_are():
    row = np.array([10, 65_535], "<u2")
    batch = collate_pairs([(row, row)], SOURCE, TARGET)
    assert {batch.source.dtype, batch.target_input.dtype, batch.target_output.dtype} == {
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
