"""Dropout: how often, how much, and where the same."""

import pytest
import torch

from seqtrans.nn.dropout import Dropout


@pytest.mark.parametrize("locked", [False, True])
@pytest.mark.parametrize("dropout", [0.1, 0.5, 0.9])
def test_keeps_the_mean(dropout, locked):
    torch.manual_seed(0)
    x = torch.ones(400, 5, 501)
    y = Dropout(dropout, locked=locked)(x)
    assert (y == 0).float().mean().item() == pytest.approx(dropout, abs=0.01)
    torch.testing.assert_close(y[y != 0], torch.full_like(y[y != 0], 1 / (1 - dropout)))


def test_a_locked_mask_is_constant_along_a_sentence_and_differs_between_them():
    torch.manual_seed(0)
    y = Dropout(0.5, locked=True)(torch.ones(4, 7, 64))
    assert torch.equal(y, y[:, :1].expand_as(y))
    assert len({tuple(row) for row in y[:, 0].tolist()}) == 4


def test_an_ordinary_mask_is_new_at_every_position():
    torch.manual_seed(0)
    y = Dropout(0.5)(torch.ones(4, 7, 64))
    assert len({tuple(row) for row in y.flatten(0, 1).tolist()}) == 28


@pytest.mark.parametrize("locked", [False, True])
def test_factors_along_steps(locked):
    torch.manual_seed(0)
    steps = Dropout(0.5, locked=locked).along(torch.ones(4, 64), steps=3)
    assert torch.equal(steps[0], steps[2]) == locked
    assert Dropout(0.5, locked=locked).eval().along(torch.ones(4, 64), steps=3) == [None] * 3


def test_neighbouring_features_are_dropped_independently():
    torch.manual_seed(0)
    dropped = (Dropout(0.5)(torch.ones(100, 10, 128)) == 0).flatten().double()
    for lag in (1, 2, 3, 4, 128):
        together = (dropped[lag:] * dropped[:-lag]).mean().item()
        assert together == pytest.approx(0.25, abs=0.01)


def test_identity_outside_training():
    x = torch.randn(2, 3, 4)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0).train()(x) is x


def test_the_seed_decides():
    dropout, x = Dropout(0.3), torch.randn(3, 5, 7, dtype=torch.bfloat16)
    first, again, other = (torch.manual_seed(seed) and dropout(x) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.dtype == torch.bfloat16


def test_gradient_passes_only_where_features_did():
    x = torch.randn(3, 5, 7, requires_grad=True)
    y = Dropout(0.4)(x)
    y.sum().backward()
    torch.testing.assert_close(x.grad, y.detach() / x.detach())
