"""The tree of a beam search, on a model whose every probability is known."""

import pytest
import torch

from seqtrans.translation.protocols import SourceBatch
from seqtrans.translation.search.beam import BeamSearch
from seqtrans.translation.search.beam_tree import ranks, recorded
from seqtrans.translation.search.rules import OutputRules
from tests.support.prefix_model import BOS, EOS, PrefixModel, next_prefix
from tests.support.searches import inputs_of

LENGTH = 7


def path(nodes, number):
    """The tokens from BOS to a node."""
    tokens = []
    while number >= 0:
        tokens.append(nodes[number].token)
        number = nodes[number].parent
    return tokens[::-1]


@pytest.mark.parametrize("beam_size", [1, 3])
@pytest.mark.parametrize("seed", range(4))
def test_the_tree_holds_what_the_search_kept(beam_size, seed):
    model = PrefixModel(seed, sentences=1)
    rules = OutputRules(bos=BOS, eos=EOS, max_length=LENGTH)
    search = BeamSearch(rules=rules, beam_size=beam_size, n_best=beam_size)
    recording = recorded(search)
    source = SourceBatch(torch.tensor([[0]]), torch.tensor([[True]]))
    for _ in range(2):  # a second sentence has a tree of its own
        found = recording(model, source, inputs_of([[0]]))
    assert found == search(model, source, inputs_of([[0]]))
    nodes = recording.nodes
    for number, node in enumerate(nodes[1:], start=1):
        *before, last = path(nodes, number)
        assert before[0] == BOS
        prefix = 0
        for token in before:
            prefix = int(next_prefix(torch.tensor(prefix), token))
        gain = float(model.table[0, prefix, last])
        assert node.log_prob == pytest.approx(nodes[node.parent].log_prob + gain)
        assert (node.score is None) == (last != EOS)
    lengths = [len(path(nodes, i)) for i, node in enumerate(nodes) if node.score is None]
    assert max(lengths.count(length) for length in set(lengths)) <= beam_size
    by_rank = {rank: i for i, rank in ranks(nodes).items()}
    assert sorted(by_rank) == list(range(1, len(by_rank) + 1))
    for rank, hypothesis in enumerate(found[0], start=1):
        assert path(nodes, by_rank[rank]) == [BOS, *hypothesis.tokens, EOS]
        assert nodes[by_rank[rank]].score == pytest.approx(hypothesis.score)
