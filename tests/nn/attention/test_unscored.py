"""Attention by location and to the last state, against their definitions."""

import torch

from seqtrans.nn.attention.unscored import LastStateAttention, LocationAttention

MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]]).bool()


def drawn(*shape, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_locations_are_scored_by_the_query_alone():
    torch.manual_seed(0)
    attention = LocationAttention(5, 6, max_positions=3).double()
    queries, states = drawn(3, 2, 5), drawn(3, 4, 6, seed=2)
    found, _ = attention.attend(queries, attention.project(states, MASK), ())
    vectors, bias = attention.location_projection.weight, attention.location_projection.bias
    for b, length in enumerate((4, 2, 1)):
        for q in range(2):
            rows = [min(m, 2) for m in range(length)]  # the fourth position scores as the third
            scores = torch.stack([vectors[m] @ queries[b, q] + bias[m] for m in rows])
            mean = scores.softmax(0) @ states[b, :length]
            expected = attention.output_projection.weight @ mean
            torch.testing.assert_close(found[b, q], expected)


def test_the_last_state_is_at_the_last_real_position():
    attention = LastStateAttention(5, 6).double()
    states = drawn(3, 4, 6)
    found, _ = attention.attend(drawn(3, 2, 5), attention.project(states, MASK), ())
    for b, last in enumerate((3, 1, 0)):
        expected = attention.output_projection.weight @ states[b, last]
        torch.testing.assert_close(found[b], expected.expand(2, 5))
