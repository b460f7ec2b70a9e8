"""Coverage attention against the formulas of arXiv:1601.04811, written out position by position."""

import pytest
import torch
from torch import nn

from seqtrans.nn.attention.coverage import CountCoverageAttention, CoverageAttention

MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]]).bool()


def drawn(*shape, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def by_layer(attention, states):
    """The update of a coverage vector by a layer with an activation, or by torch's GRU cell."""
    p = dict(attention.named_parameters())
    inputs = ("update_weight.weight", "update_memory.weight", "update_query.weight")
    joint = torch.cat([p[name] for name in inputs], dim=1)
    gru = nn.GRUCell(joint.size(1), attention.coverage_dim).double()
    activation = attention.activation

    def update(coverage, weight, m, query):
        seen = torch.cat((weight[None], states[m], query))
        if activation is None:
            given = {"weight_ih": joint, "weight_hh": p["update_coverage.weight"]}
            biases = {"bias_ih": torch.zeros(len(joint)).double()}
            biases["bias_hh"] = p["update_coverage.bias"]
            return torch.func.functional_call(gru, given | biases, (seen, coverage))
        return activation(
            p["update_coverage.weight"] @ coverage + p["update_coverage.bias"] + joint @ seen
        )

    return update


def by_count(attention, states):
    """The sum of weights, divided by the fertility."""

    def update(coverage, weight, m, _):
        if attention.fertility is None:
            return coverage + weight
        fertility = attention.max_fertility * torch.sigmoid(attention.fertility(states[m]))
        return coverage + weight / fertility

    return update


def written_out(attention, queries, states):
    """Mapped contexts of the queries of one sentence, and its coverage after them; no batches."""
    p = dict(attention.named_parameters())
    positions = range(len(states))
    is_count = isinstance(attention, CountCoverageAttention)
    update = (by_count if is_count else by_layer)(attention, states)
    coverage = [torch.zeros(attention.coverage_projection.in_features).double() for _ in positions]
    contexts = []
    for query in queries:
        scores = []
        for m in positions:
            hidden = p["query_projection.weight"] @ query
            hidden = hidden + p["key_projection.weight"] @ states[m] + p["key_projection.bias"]
            hidden = hidden + p["coverage_projection.weight"] @ coverage[m]
            scores.append(p["energy"] @ torch.tanh(hidden))
        total = sum(torch.exp(score) for score in scores)
        weights = [torch.exp(score) / total for score in scores]
        mean = sum(weights[m] * states[m] for m in positions)
        contexts.append(p["output_projection.weight"] @ mean)
        coverage = [update(coverage[m], weights[m], m, query) for m in positions]
    return torch.stack(contexts), torch.stack(coverage)


def found_and_expected(attention, queries, states):
    memory = attention.project(states, MASK)
    state, contexts = attention.begin(memory), []
    for query in queries.split(1, dim=1):
        context, state = attention.attend(query, memory, state)
        contexts.append(context)
    coverage = state[0].flatten(3) if state[0].dim() == 4 else state[0][..., None]
    found = [(torch.cat(contexts, dim=1)[b], coverage[b, 0, MASK[b]]) for b in range(3)]
    expected = [written_out(attention, queries[b], states[b, MASK[b]]) for b in range(3)]
    return found, expected


@pytest.fixture(params=["tanh", "sigmoid", "relu", "softplus", "gru", "count", "fertility"])
def build(request):
    """Builds an attention, given the sizes of queries and memory."""
    torch.manual_seed(0)
    if request.param == "count":
        return CountCoverageAttention
    if request.param == "fertility":
        return lambda query, memory: CountCoverageAttention(query, memory, max_fertility=3.0)
    return lambda query, memory: CoverageAttention(query, memory, 3, request.param)


def test_contexts_and_coverage_are_the_formulas(build):
    attention = build(8, 6).double()
    found, expected = found_and_expected(attention, drawn(3, 5, 8), drawn(3, 4, 6, seed=2))
    torch.testing.assert_close(found, expected)


def test_gradients_are_those_of_the_formulas(build):
    attention = build(4, 3).double()
    queries = drawn(3, 3, 4).requires_grad_()
    states = drawn(3, 4, 3, seed=2).requires_grad_()
    inputs = [queries, states, *attention.parameters()]
    grads = []
    for one in found_and_expected(attention, queries, states):
        total = sum(x.pow(2).sum() + c.sin().sum() for x, c in one)
        grads.append(torch.autograd.grad(total, inputs))
    for mine, theirs in zip(*grads, strict=True):
        assert theirs.any()
        torch.testing.assert_close(mine, theirs)


def test_a_position_that_was_looked_at_scores_otherwise_than_before(build):
    attention = build(8, 6).double()
    memory = attention.project(drawn(3, 4, 6), MASK)
    query = drawn(3, 1, 8, seed=2)
    first, state = attention.attend(query, memory, attention.begin(memory))
    again, _ = attention.attend(query, memory, state)
    differs = [not torch.allclose(first[b], again[b]) for b in range(3)]
    assert differs == [True, True, False]  # a sentence of one position has one mean
