"""Coverage attention against the formulas of arXiv:1601.04811, written out position by position."""

import torch

from seqtrans.nn.attention.coverage import CoverageAttention

MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]]).bool()


def drawn(*shape, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def written_out(attention, queries, states):
    """Mapped contexts of the queries of one sentence, and its coverage after them; no batches."""
    p = dict(attention.named_parameters())
    positions = range(len(states))
    coverage = [torch.zeros(attention.update_coverage.in_features).double() for _ in positions]
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
        coverage = [
            torch.tanh(
                p["update_coverage.weight"] @ coverage[m]
                + p["update_coverage.bias"]
                + p["update_weight.weight"][:, 0] * weights[m]
                + p["update_memory.weight"] @ states[m]
                + p["update_query.weight"] @ query
            )
            for m in positions
        ]
    return torch.stack(contexts), torch.stack(coverage)


def found_and_expected(attention, queries, states):
    memory = attention.project(states, MASK)
    state, contexts = attention.begin(memory), []
    for query in queries.split(1, dim=1):
        context, state = attention.attend(query, memory, state)
        contexts.append(context)
    found = [(torch.cat(contexts, dim=1)[b], state[0][b, 0, MASK[b]]) for b in range(3)]
    expected = [written_out(attention, queries[b], states[b, MASK[b]]) for b in range(3)]
    return found, expected


def test_contexts_and_coverage_are_the_formulas():
    torch.manual_seed(0)
    attention = CoverageAttention(8, 6, coverage_dim=3).double()
    found, expected = found_and_expected(attention, drawn(3, 5, 8), drawn(3, 4, 6, seed=2))
    torch.testing.assert_close(found, expected)


def test_gradients_are_those_of_the_formulas():
    torch.manual_seed(0)
    attention = CoverageAttention(4, 3, coverage_dim=2).double()
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


def test_a_position_that_was_looked_at_scores_otherwise_than_before():
    torch.manual_seed(0)
    attention = CoverageAttention(8, 6, coverage_dim=3).double()
    memory = attention.project(drawn(3, 4, 6), MASK)
    query = drawn(3, 1, 8, seed=2)
    first, state = attention.attend(query, memory, attention.begin(memory))
    again, _ = attention.attend(query, memory, state)
    differs = [not torch.allclose(first[b], again[b]) for b in range(3)]
    assert differs == [True, True, False]  # a sentence of one position has one mean
