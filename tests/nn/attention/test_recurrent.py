"""Attentions of recurrent decoders against their formulas, written out."""

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from seqtrans.nn.attention.recurrent import (
    AdditiveAttention,
    DotAttention,
    GeneralAttention,
    MultiHeadDotAttention,
)
from seqtrans.nn.kernels import additive_scores as additive

BUILDERS = {
    "dot": lambda: DotAttention(6, 6),
    "general": lambda: GeneralAttention(8, 6),
    "additive": lambda: AdditiveAttention(8, 6),
    "multi_head": lambda: MultiHeadDotAttention(8, 6, num_heads=2),
}


@pytest.fixture(params=BUILDERS)
def attention(request):
    torch.manual_seed(0)
    return BUILDERS[request.param]().double()


@pytest.fixture
def memory():
    generator = torch.Generator().manual_seed(1)
    states = torch.randn(3, 5, 6, generator=generator, dtype=torch.float64)
    return states, torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]]).bool()


def queries(attention, number=4):
    dim = attention.output_projection.out_features
    generator = torch.Generator().manual_seed(2)
    return torch.randn(3, number, dim, generator=generator, dtype=torch.float64)


def contexts(attention, query, memory):
    return attention.attend(query, memory, attention.begin(memory))[0]


def one_context(attention, query, states):
    """The mapped context of one query, over the real positions of one sentence: no batching."""
    match attention:
        case GeneralAttention():
            scores = [query @ attention.key_projection.weight @ m for m in states]
        case DotAttention():
            scores = [query @ m for m in states]
        case AdditiveAttention():
            asked = attention.query_projection.weight @ query
            keys = states @ attention.key_projection.weight.T + attention.key_projection.bias
            scores = [attention.energy @ torch.tanh(asked + key) for key in keys]
        case MultiHeadDotAttention():
            joined = torch.cat(tuple(heads(attention, query, states)))
            return attention.output_projection.weight @ joined
    return attention.output_projection.weight @ (torch.stack(scores).softmax(0) @ states)


def heads(attention, query, states):
    asked = attention.query_projection(query).chunk(2)
    keys = attention.key_projection(states).chunk(2, dim=1)
    values = attention.value_projection(states).chunk(2, dim=1)
    for q, k, v in zip(asked, keys, values, strict=True):
        yield (k @ q / len(q) ** 0.5).softmax(0) @ v


def test_context_is_the_formulas(attention, memory):
    states, mask = memory
    query = queries(attention)
    found = contexts(attention, query, attention.project(states, mask))
    for b in range(3):
        for q in range(4):
            expected = one_context(attention, query[b, q], states[b, mask[b]])
            torch.testing.assert_close(found[b, q], expected)


def test_gradients_are_those_of_the_formula(attention, memory):
    states, mask = memory
    query = queries(attention, number=2).requires_grad_()
    states = states.requires_grad_()
    inputs = [query, states, *attention.parameters()]
    weight = torch.randn_like(query)
    found = torch.autograd.grad(
        (contexts(attention, query, attention.project(states, mask)) * weight).sum(), inputs
    )
    expected = sum(
        one_context(attention, query[b, q], states[b, mask[b]]) @ weight[b, q]
        for b in range(3)
        for q in range(2)
    )
    for mine, theirs in zip(found, torch.autograd.grad(expected, inputs), strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("block", [1, 50, 90, 1 << 18])
def test_blocks_of_any_size_give_the_same_scores_and_gradients(monkeypatch, block):
    monkeypatch.setattr(additive, "_CPU_BLOCK", block)
    torch.manual_seed(3)
    query, key, energy = (
        torch.randn(*shape, dtype=torch.float64, requires_grad=True)
        for shape in ((3, 4, 6), (3, 5, 6), (6,))
    )

    def scores(query, key, energy):
        exponentials = additive.exponential(query), additive.exponential(key)
        return additive.tanh_scores(*exponentials, energy)

    expected = torch.tanh(query[:, :, None] + key[:, None]) @ energy
    torch.testing.assert_close(scores(query, key, energy), expected)
    assert torch.autograd.gradcheck(scores, (query, key, energy))


@pytest.mark.parametrize("size", [1e-3, 1.0, 12.0, 28.0])
def test_tanh_is_accurate_in_single_precision(size):
    torch.manual_seed(4)
    query, key = torch.randn(2, 1, 40, 1, dtype=torch.float64).clamp(-1, 1) * size
    exponentials = (additive.exponential(x.float()) for x in (query, key))
    found = additive.tanh_scores(*exponentials, torch.ones(1))
    expected = torch.tanh(query + key.mT)
    torch.testing.assert_close(found.double(), expected, atol=5e-6, rtol=0)


def test_extreme_inputs_saturate_and_stay_finite():
    query = torch.tensor([-1e4, -80.0, 80.0, 1e4]).reshape(1, 4, 1).requires_grad_()
    key = torch.tensor([-1e4, 0.0, 1e4]).reshape(1, 3, 1).requires_grad_()
    energy = torch.ones(1, requires_grad=True)
    scores = additive.tanh_scores(additive.exponential(query), additive.exponential(key), energy)
    expected = [[-1.0, -1.0, 0.0], [-1.0, -1.0, 0.0], [0.0, 1.0, 1.0], [0.0, 1.0, 1.0]]
    torch.testing.assert_close(scores[0].detach(), torch.tensor(expected))
    for grad in torch.autograd.grad(scores.sum(), (query, key, energy)):
        assert grad.isfinite().all()


def test_additive_training_stores_no_tensor_of_all_pairs():
    attention = AdditiveAttention(32, 32)
    states, query = torch.randn(2, 40, 32), torch.randn(2, 40, 32)
    pairs = 2 * 40 * 40 * 32
    sizes = []
    with saved_tensors_hooks(lambda x: sizes.append(x.numel()) or x, lambda x: x):
        memory = attention.project(states, torch.ones(2, 40).bool())
        contexts(attention, query, memory).sum().backward()
    assert sizes
    assert max(sizes) < pairs / 10


def test_heads_must_divide_the_query():
    with pytest.raises(ValueError, match=r"num_heads \(3\) must divide model_dim \(8\)"):
        MultiHeadDotAttention(8, 6, num_heads=3)
