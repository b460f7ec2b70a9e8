"""The table of activations: what people read there is what the modules compute."""

import importlib.util
import math
import typing
from pathlib import Path

import pytest
import torch

from seqtrans.nn.activations import DESCRIPTIONS, ActivationName, activation

ROOT = Path(__file__).resolve().parents[2]
NAMES = typing.get_args(ActivationName)
KINK = 0.0


def value_of(expression, x):
    """What a formula of the table says at the number ``x``."""
    names = {k: v for k, v in vars(math).items() if not k.startswith("_")}
    others = {
        name: (lambda y, formula=it.formula: value_of(formula, y))
        for name, it in DESCRIPTIONS.items()
    }
    scope = {"__builtins__": {}} | others | names | {"x": x}
    return float(eval(expression, scope))  # noqa: S307 - our own table


def grid(low=-6.0, high=6.0):
    return torch.linspace(low, high, 49, dtype=torch.float64)


def gradient(name, x):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(activation(name)(x).sum(), x)[0]


def described(expression, x):
    return torch.tensor([value_of(expression, y) for y in x.tolist()], dtype=x.dtype)


def test_every_name_is_described_once_and_in_order():
    assert tuple(DESCRIPTIONS) == NAMES
    assert len(NAMES) == 13


@pytest.mark.parametrize("name", NAMES)
def test_the_formula_is_what_the_module_computes(name):
    x = grid()
    torch.testing.assert_close(activation(name)(x), described(DESCRIPTIONS[name].formula, x))


@pytest.mark.parametrize("name", NAMES)
def test_the_derivative_is_what_autograd_finds(name):
    x = grid()
    assert KINK in x
    torch.testing.assert_close(gradient(name, x), described(DESCRIPTIONS[name].derivative, x))


@pytest.mark.parametrize("name", [n for n in NAMES if n != "binary_step"])
def test_the_derivative_is_that_of_the_formula(name):
    """By central differences: autograd takes no part in this."""
    for x in (-3.0, -0.7, -0.1, 0.1, 0.4, 2.0):
        near = [value_of(DESCRIPTIONS[name].formula, x + h) for h in (-1e-5, 1e-5)]
        slope = (near[1] - near[0]) / 2e-5
        assert value_of(DESCRIPTIONS[name].derivative, x) == pytest.approx(slope, abs=1e-8)


def test_the_gradient_of_the_step_passes_straight_through():
    x = torch.tensor([-2.0, -0.0, 0.0, 3.0], requires_grad=True)
    step = activation("binary_step")(x)
    assert step.tolist() == [0, 1, 1, 1]
    step.backward(torch.tensor([5.0, -6.0, 7.0, 8.0]))
    assert x.grad.tolist() == [5, -6, 7, 8]


@pytest.mark.parametrize("name", NAMES)
def test_values_fill_the_range(name):
    found = activation(name)(torch.linspace(-3e4, 3e4, 600_001, dtype=torch.float64))
    interval = DESCRIPTIONS[name].range
    if interval.startswith("{"):
        assert set(found.tolist()) == eval(interval)  # noqa: S307 - our own table
        return
    low, high = (value_of(bound, 0.0) for bound in interval[1:-1].split(", "))
    for bound, end in ((low, found.min()), (high, found.max())):
        assert abs(end) >= 299 if math.isinf(bound) else end == pytest.approx(bound, abs=1.5e-3)
    assert low <= found.min()
    assert found.max() <= high
    inner = activation(name)(grid(-15, 15))
    is_reached = bool(inner[0] > inner.min()) or inner[0] == low
    assert interval[0] == ("[" if is_reached else "(")
    assert interval[-1] == ")"
    assert inner.max() < high


@pytest.mark.parametrize("name", NAMES)
def test_modules_have_no_state(name):
    assert not activation(name).state_dict()


def test_the_page_is_made_from_the_table():
    source = ROOT / "tools" / "draw_activations.py"
    spec = importlib.util.spec_from_file_location("draw_activations", source)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    written = tool.TEXT.read_text(encoding="utf-8")
    assert written == tool.page(), "run tools/draw_activations.py"
    assert tool.PICTURE.name in written
    assert tool.PICTURE.read_bytes().startswith(b"\x89PNG")
    assert tool.PICTURE.stat().st_size < 60_000
