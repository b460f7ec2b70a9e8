"""Activations by name, and a table of their formulas, derivatives, ranges and sources.

Formula and derivative are Python expressions of ``x`` that may use Python's ``math`` and the
other names of the table, so that tests evaluate what people read.
``recipes/images/ACTIVATIONS.md`` is made from the table.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import nn

from seqtrans.tensor_types import Float, Tensor

ActivationName = Literal[
    "identity",
    "binary_step",
    "logistic",
    "tanh",
    "arctan",
    "softsign",
    "relu",
    "softplus",
    "leaky_relu",
    "elu",
    "gelu",
    "silu",
    "mish",
]


class BinaryStep(nn.Module):
    """Returns 1 for inputs of at least 0, else 0.

    Its derivative is 0 almost everywhere, so nothing would be learned. Instead the gradient passes
    straight through, as if this were the identity (arXiv:1308.3432).
    """

    def forward(self, x: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
        """Apply to every value."""
        if not torch.is_grad_enabled():  # exported models can't hold a Python function
            return _step(x)
        return cast("Tensor", _Step.apply(x))


class Arctan(nn.Module):
    """The arctangent, in radians."""

    def forward(self, x: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
        """Apply to every value."""
        return torch.atan(x)


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any,  # noqa: ARG004
        x: Tensor,
    ) -> Tensor:
        return _step(x)

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any,  # noqa: ARG004
        to_output: Tensor,
    ) -> Tensor:
        return to_output


def _step(x: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    return (x >= 0).to(x.dtype)


@dataclass(frozen=True, kw_only=True)
class Description:
    """Description of one activation.

    Args:
        build: Builds the module, which has no parameters.
        formula: Value at ``x``, a Python expression.
        derivative: Derivative at ``x``, a Python expression; where it is undefined, the value that
            the module uses instead.
        range: Interval or set of the values; bounds without a closed form are rounded outward to
            three decimals.
        source: Its origin, and notes.
    """

    build: Callable[[], nn.Module]
    formula: str
    derivative: str
    range: str
    source: str


DESCRIPTIONS: dict[ActivationName, Description] = {
    "identity": Description(
        build=nn.Identity,
        formula="x",
        derivative="1",
        range="(-inf, inf)",
        source="no activation: layers without another one between them are one linear map",
    ),
    "binary_step": Description(
        build=BinaryStep,
        formula="1 if x >= 0 else 0",
        derivative="1",
        range="{0, 1}",
        source="Rosenblatt 1958; the true derivative is 0, so the gradient passes straight "
        "through (arXiv:1308.3432)",
    ),
    "logistic": Description(
        build=nn.Sigmoid,
        formula="1 / (1 + exp(-x))",
        derivative="logistic(x) * (1 - logistic(x))",
        range="(0, 1)",
        source="often called the sigmoid",
    ),
    "tanh": Description(
        build=nn.Tanh,
        formula="(exp(x) - exp(-x)) / (exp(x) + exp(-x))",
        derivative="1 - tanh(x) ** 2",
        range="(-1, 1)",
        source="the hyperbolic tangent; LeCun et al. 1998 used it, scaled",
    ),
    "arctan": Description(
        build=Arctan,
        formula="atan(x)",
        derivative="1 / (1 + x ** 2)",
        range="(-pi / 2, pi / 2)",
        source="the inverse of the tangent",
    ),
    "softsign": Description(
        build=nn.Softsign,
        formula="x / (1 + fabs(x))",
        derivative="1 / (1 + fabs(x)) ** 2",
        range="(-1, 1)",
        source="Bergstra et al. 2009; nears its bounds more slowly than tanh",
    ),
    "relu": Description(
        build=nn.ReLU,
        formula="x if x > 0 else 0",
        derivative="1 if x > 0 else 0",
        range="[0, inf)",
        source="rectified linear unit; Nair and Hinton 2010",
    ),
    "softplus": Description(
        build=nn.Softplus,
        formula="log(1 + exp(x))",
        derivative="logistic(x)",
        range="(0, inf)",
        source='Dugas et al. 2001; a smooth ReLU, also called "softrelu"',
    ),
    "leaky_relu": Description(
        build=nn.LeakyReLU,
        formula="x if x > 0 else 0.01 * x",
        derivative="1 if x > 0 else 0.01",
        range="(-inf, inf)",
        source="Maas et al. 2013",
    ),
    "elu": Description(
        build=nn.ELU,
        formula="x if x > 0 else exp(x) - 1",
        derivative="1 if x > 0 else exp(x)",
        range="(-1, inf)",
        source="exponential linear unit; arXiv:1511.07289",
    ),
    "gelu": Description(
        build=nn.GELU,
        formula="x * (1 + erf(x / sqrt(2))) / 2",
        derivative="(1 + erf(x / sqrt(2))) / 2 + x * exp(-(x ** 2) / 2) / sqrt(2 * pi)",
        range="[-0.170, inf)",
        source="Gaussian error linear unit; arXiv:1606.08415, the exact form",
    ),
    "silu": Description(
        build=nn.SiLU,
        formula="x * logistic(x)",
        derivative="logistic(x) * (1 + x * (1 - logistic(x)))",
        range="[-0.279, inf)",
        source="sigmoid linear unit, also called Swish; arXiv:1702.03118",
    ),
    "mish": Description(
        build=nn.Mish,
        formula="x * tanh(softplus(x))",
        derivative="tanh(softplus(x)) + x * logistic(x) * (1 - tanh(softplus(x)) ** 2)",
        range="[-0.309, inf)",
        source="arXiv:1908.08681",
    ),
}


def activation(name: ActivationName) -> nn.Module:
    """Build a module, without parameters, that applies the activation to every value."""
    return DESCRIPTIONS[name].build()
