"""The chunked loss of two passes against its definition on all logits at once."""

import pytest
import torch
import torch.nn.functional as F

from seqtrans.nn.kernels import cross_entropy
from seqtrans.nn.kernels.consistency import ConsistencyTerms, linear_consistency

TERMS = [
    ConsistencyTerms(forward=3.0),
    ConsistencyTerms(first=0.5, second=0.5, forward=1.2, backward=0.7),
    ConsistencyTerms(first=0.0, second=1.5, mixed=5.0),
]


@pytest.fixture(autouse=True)
def _three_chunks(monkeypatch):
    monkeypatch.setattr(cross_entropy, "ROWS", 8)
    monkeypatch.setattr(cross_entropy, "_CPU_BLOCK", 3)


def inputs(dtype=torch.float64, scale=1.0):
    generator = torch.Generator().manual_seed(1)
    shapes = [(2, 19, 6), (11, 6), (11,)]
    parts = [scale * torch.randn(s, generator=generator, dtype=dtype) for s in shapes]
    return [part.requires_grad_() for part in parts], torch.randint(11, (19,), generator=generator)


def divergence(p, q):
    return F.kl_div(q, p, log_target=True, reduction="sum")


def defined(parts, target, smoothing, terms, cap=None):
    """Return loss, negative log-likelihood of the first pass, and the divergences."""
    features, weight, bias = parts
    logits = F.linear(features, weight, bias)
    p, q = (logits if cap is None else cap * torch.tanh(logits / cap)).log_softmax(-1)
    losses = [
        F.cross_entropy(x, target, label_smoothing=smoothing, reduction="sum") for x in (p, q)
    ]
    mean = torch.stack((p, q)).logsumexp(0) - torch.tensor(2.0, dtype=p.dtype).log()
    compared = terms.forward * divergence(p, q) + terms.backward * divergence(q, p)
    compared = compared + terms.mixed / 2 * (divergence(p, mean) + divergence(q, mean))
    loss = terms.first * losses[0] + terms.second * losses[1] + compared
    return loss, F.nll_loss(p, target, reduction="sum"), compared


@pytest.mark.parametrize("terms", TERMS, ids=["simcut", "both ways", "mixed"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("scale", [1.0, 30.0])  # 30: some probabilities underflow
@pytest.mark.parametrize("cap", [None, 2.0, 300.0])
def test_loss_and_gradients(terms, smoothing, scale, cap):
    parts, target = inputs(scale=scale)
    computed = linear_consistency(*parts, target, smoothing, terms, cap)
    expected = defined(parts, target, smoothing, terms, cap)
    torch.testing.assert_close(computed, expected)
    assert [x.requires_grad for x in computed] == [True, False, False]
    gradients = torch.autograd.grad(-3 * computed[0], parts)
    torch.testing.assert_close(gradients, torch.autograd.grad(-3 * expected[0], parts))


def test_without_gradient_the_values_are_the_same():
    parts, target = inputs()
    with_gradient = linear_consistency(*parts, target, 0.1, TERMS[1])
    with torch.no_grad():
        without = linear_consistency(*parts, target, 0.1, TERMS[1])
    torch.testing.assert_close(without, with_gradient)


def test_autocast_multiplies_in_bf16_and_sums_in_fp32():
    parts, target = inputs(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        loss, _, _ = linear_consistency(*parts, target, 0.1, TERMS[0])
    gradients = torch.autograd.grad(loss, parts)
    assert [x.dtype for x in (loss, *gradients)] == [torch.float32] * 4
    expected = defined(parts, target, 0.1, TERMS[0])[0]
    torch.testing.assert_close(loss, expected, rtol=0.03, atol=0.03)
    wanted = torch.autograd.grad(expected, parts)
    torch.testing.assert_close(gradients, wanted, rtol=0.1, atol=0.15)
