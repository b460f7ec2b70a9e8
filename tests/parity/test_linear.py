"""Our linear map against ``nn.Linear``, on both ways it can take."""

import pytest
import torch
from torch import nn

from seqtrans.nn.kernels import linear


@pytest.fixture(params=[True, False], ids=["onednn", "torch"])
def _way(request, monkeypatch):
    if request.param and not torch.backends.mkldnn.is_available():
        pytest.skip("torch was built without oneDNN")
    monkeypatch.setattr(linear, "_onednn_is_faster", lambda: request.param)
    monkeypatch.setattr(linear, "WORTHWHILE", 0)


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(7,), (5, 7), (2, 5, 7), (0, 7)])
def test_values_and_gradients(dtype, bias, shape):
    torch.manual_seed(0)
    theirs = nn.Linear(7, 9, bias=bias, dtype=dtype)
    mine = linear.Linear(7, 9, bias=bias, dtype=dtype)
    mine.load_state_dict(theirs.state_dict())
    x = torch.randn(shape, dtype=dtype, requires_grad=True)
    weight = torch.randn(*shape[:-1], 9, dtype=dtype)

    def gradients(module):
        loss = (module(x) * weight).sum()
        return torch.autograd.grad(loss, [x, *module.parameters()])

    torch.testing.assert_close(mine(x), theirs(x))
    torch.testing.assert_close(gradients(mine), gradients(theirs))
    with torch.no_grad():
        torch.testing.assert_close(mine(x), theirs(x))


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 7), (2, 16, 7), (33, 7), (5, 131, 7)])
def test_rows_that_are_added_do_not_show(shape, dtype, bias):
    torch.manual_seed(0)
    mine, x = linear.Linear(7, 9, bias=bias, dtype=dtype), torch.randn(shape, dtype=dtype)
    expected = mine(x).detach()  # with gradients as it is
    with torch.no_grad():
        torch.testing.assert_close(mine(x), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_onednn_meets_few_sizes_where_there_are_no_gradients(dtype, monkeypatch):
    """For each, and each shape of weights, it keeps compiled code: 0.7 MB in bf16."""
    if not linear._onednn_has_bf16():
        pytest.skip("oneDNN has no bf16 on this processor")
    monkeypatch.setattr(linear, "_onednn_is_faster", lambda: True)
    met, multiply = set[int](), linear.multiply
    monkeypatch.setattr(linear, "multiply", lambda x, *rest: met.add(len(x)) or multiply(x, *rest))
    mine = linear.Linear(3, 2, dtype=dtype)
    with torch.no_grad():
        for rows in range(1, 200):
            mine(torch.ones(rows, 3, dtype=dtype))
    assert met == {linear.rounded_up(rows) for rows in range(1, 200)}


@pytest.mark.parametrize("transposed", [True, False])
def test_bias_in_bf16_is_added_before_rounding(transposed):
    torch.manual_seed(0)
    sizes = (50, 40), (30, 40), (30,)
    x, weight, bias = (torch.randn(size).bfloat16() for size in sizes)
    if transposed:
        weight = weight.t().contiguous().t()
    exact = x.double() @ weight.double().t() + bias.double()
    found = linear.multiply(x, weight, bias)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), exact, rtol=2**-8, atol=1e-5)


def test_few_sizes_are_left_and_little_is_added():
    sizes = {rows: linear.rounded_up(rows) for rows in range(1, 4097)}
    assert len(set(sizes.values())) == 80
    assert all(0 <= size - rows <= max(15, rows / 16) for rows, size in sizes.items())


@pytest.mark.usefixtures("_way")
def test_strided_input_and_output_gradient():
    torch.manual_seed(0)
    mine, theirs = linear.Linear(6, 4), nn.Linear(6, 4)
    mine.load_state_dict(theirs.state_dict())
    x = torch.randn(6, 3, 5).permute(2, 1, 0).requires_grad_()
    weight = torch.randn(4, 3, 5).permute(2, 1, 0)
    found, expected = (
        torch.autograd.grad((m(x) * weight).sum(), [x, m.weight, m.bias]) for m in (mine, theirs)
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.usefixtures("_way")
def test_what_is_frozen_gets_no_gradient():
    mine = linear.Linear(6, 4)
    mine.weight.requires_grad_(requires_grad=False)
    mine(torch.randn(3, 6)).sum().backward()
    assert mine.weight.grad is None
    assert mine.bias.grad is not None


@pytest.mark.usefixtures("_way")
def test_autocast_narrows_as_ever():
    with torch.autocast("cpu", torch.bfloat16):
        assert linear.Linear(6, 4)(torch.randn(3, 6)).dtype == torch.bfloat16


@pytest.mark.parametrize("rows", [3, 4])
def test_onednn_is_called_for_large_products_only(rows, monkeypatch):
    monkeypatch.setattr(linear, "_onednn_is_faster", lambda: True)
    monkeypatch.setattr(linear, "WORTHWHILE", 4 * 6 * 5)
    if not torch.backends.mkldnn.is_available():
        pytest.skip("torch was built without oneDNN")
    found = linear.Linear(6, 5)(torch.randn(rows, 6))
    assert ("OneDnn" in type(found.grad_fn).__name__) == (rows == 4)


@pytest.mark.parametrize("said", ["could not create a primitive", "anything else"])
def test_where_onednn_finds_no_room_for_its_code_another_library_multiplies(said, monkeypatch):
    if not linear._onednn_has_bf16():
        pytest.skip("oneDNN has no bf16 on this processor")

    def refuse(*_arguments):
        raise RuntimeError(said)

    x, mine = torch.randn(3, 6).bfloat16(), linear.Linear(6, 5, dtype=torch.bfloat16)
    expected = nn.functional.linear(x, mine.weight, mine.bias)
    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", refuse)
    if said == "anything else":
        with pytest.raises(RuntimeError, match=said):
            linear.multiply(x, mine.weight, mine.bias)
    else:
        torch.testing.assert_close(linear.multiply(x, mine.weight, mine.bias), expected)
