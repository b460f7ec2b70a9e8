"""The chunked loss against ``F.cross_entropy`` on all logits at once."""

import pytest
import torch
import torch.nn.functional as F

from seqtrans.nn.kernels import cross_entropy
from seqtrans.nn.kernels.cross_entropy import linear_cross_entropy


@pytest.fixture(autouse=True)
def _three_chunks(monkeypatch):
    monkeypatch.setattr(cross_entropy, "ROWS", 8)
    monkeypatch.setattr(cross_entropy, "_CPU_BLOCK", 3)


def inputs(dtype=torch.float64, scale=1.0):
    generator = torch.Generator().manual_seed(1)
    shapes = [(19, 6), (11, 6), (11,)]
    parts = [scale * torch.randn(s, generator=generator, dtype=dtype) for s in shapes]
    return [part.requires_grad_() for part in parts], torch.randint(11, (19,), generator=generator)


def plain(parts, target, smoothing, cap=None):
    logits = F.linear(*parts)
    if cap is not None:
        logits = cap * torch.tanh(logits / cap)
    return F.cross_entropy(logits, target, label_smoothing=smoothing, reduction="sum")


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
@pytest.mark.parametrize("scale", [1.0, 30.0])  # 30: some probabilities underflow
@pytest.mark.parametrize("cap", [None, 2.0, 300.0])
def test_loss_and_gradients(smoothing, scale, cap):
    parts, target = inputs(scale=scale)
    loss, nll = linear_cross_entropy(*parts, target, smoothing, cap)
    expected = plain(parts, target, smoothing, cap)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(nll, plain(parts, target, 0.0, cap))
    assert not nll.requires_grad
    found = torch.autograd.grad(-3 * loss, parts)
    torch.testing.assert_close(found, torch.autograd.grad(-3 * expected, parts))


def test_gradcheck():
    parts, target = inputs()
    assert torch.autograd.gradcheck(lambda *x: linear_cross_entropy(*x, target, 0.2)[0], parts)


def test_a_weight_used_twice_gets_both_gradients():
    (features, weight, bias), target = inputs()

    def loss(cross_entropy_of):
        return cross_entropy_of([features + weight[target], weight, bias])

    chunked = loss(lambda parts: linear_cross_entropy(*parts, target, 0.1)[0])
    expected = loss(lambda parts: plain(parts, target, 0.1))
    found, right = (torch.autograd.grad(x, weight) for x in (chunked, expected))
    torch.testing.assert_close(found, right)


@pytest.mark.parametrize("cap", [None, 2.0])
def test_autocast_multiplies_in_bf16_and_sums_in_fp32(cap):
    parts, target = inputs(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        loss, nll = linear_cross_entropy(*parts, target, 0.1, cap)
        logits = F.linear(*parts)
    assert logits.dtype == torch.bfloat16
    logits = logits.float() if cap is None else cap * (logits.float() / cap).tanh()
    exact = F.cross_entropy(logits, target, reduction="sum")
    torch.testing.assert_close(nll, exact, rtol=1e-5, atol=1e-5)
    found = torch.autograd.grad(loss, parts)
    assert [x.dtype for x in (loss, *found)] == [torch.float32] * 4
    expected = torch.autograd.grad(plain(parts, target, 0.1, cap), parts)
    torch.testing.assert_close(found, expected, rtol=0.03, atol=0.03)


def test_without_gradient_the_values_are_the_same():
    parts, target = inputs()
    with_gradient = linear_cross_entropy(*parts, target, 0.1)
    with torch.no_grad():
        without = linear_cross_entropy(*parts, target, 0.1)
    torch.testing.assert_close(without, with_gradient)
    assert not without[0].requires_grad


def test_no_targets_no_loss():
    parts, target = inputs()
    loss, nll = linear_cross_entropy(parts[0][:0], *parts[1:], target[:0], 0.1)
    assert (loss.item(), nll.item()) == (0.0, 0.0)
    loss.backward()
    assert not parts[1].grad.any()
