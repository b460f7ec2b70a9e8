"""Few weights added to the linear maps of a trained network, to adapt it to other data."""

import math
from abc import ABC, abstractmethod

import torch
from torch import nn

from seqtrans.nn.dropout import Dropout
from seqtrans.nn.kernels.linear import Linear
from seqtrans.tensor_types import Float, Tensor


class Adaptation(nn.Module, ABC):
    """Changes the output of a linear map; at first it changes nothing."""

    @abstractmethod
    def forward(
        self, input: Float[Tensor, "*P before"], output: Float[Tensor, "*P after"]
    ) -> Float[Tensor, "*P after"]:
        """Return the changed output, given the input and the output of the map."""


class LowRank(Adaptation):
    """Adds a product of two narrow matrices to the weights (LoRA, arXiv:2106.09685).

    Args:
        before: Features of the map's input.
        after: Features of its output.
        rank: Features between the two matrices.
        alpha: The product is multiplied by ``alpha / rank``.
        dropout: Probability of dropping a feature of the input.
    """

    def __init__(self, before: int, after: int, rank: int, alpha: float, dropout: float) -> None:
        super().__init__()
        self.scale = alpha / rank
        self.dropout = Dropout(dropout)
        self.down = Linear(before, rank, bias=False)
        self.up = Linear(rank, after, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(
        self, input: Float[Tensor, "*P before"], output: Float[Tensor, "*P after"]
    ) -> Float[Tensor, "*P after"]:
        """See ``Adaptation.forward``."""
        return output + self.scale * self.up(self.down(self.dropout(input)))


class UnitScale(Adaptation):
    """Multiplies each feature by a learned factor of 0 to 2 (LHUC; Vilar 2018, N18-2080).

    Args:
        after: Features of the map's output.
    """

    def __init__(self, after: int) -> None:
        super().__init__()
        self.amplitude = nn.Parameter(torch.zeros(after))

    def forward(
        self, input: Float[Tensor, "*P before"], output: Float[Tensor, "*P after"]
    ) -> Float[Tensor, "*P after"]:
        """See ``Adaptation.forward``."""
        del input
        return output * (2 * self.amplitude.sigmoid()).to(output.dtype)


class Bottleneck(Adaptation):
    """Adds a narrow network with one hidden layer behind the map (arXiv:1902.00751).

    Args:
        after: Features of the map's output.
        dim: Features of the hidden layer.
    """

    def __init__(self, after: int, dim: int) -> None:
        super().__init__()
        self.down = Linear(after, dim)
        self.up = Linear(dim, after)
        bound = math.sqrt(3 / after)
        nn.init.uniform_(self.down.weight, -bound, bound)
        for part in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(part)

    def forward(
        self, input: Float[Tensor, "*P before"], output: Float[Tensor, "*P after"]
    ) -> Float[Tensor, "*P after"]:
        """See ``Adaptation.forward``."""
        del input
        return output + self.up(self.down(output).relu())


class AdaptedLinear(Linear):
    """A linear map with an adaptation; its own weights keep their names and stay shared.

    Args:
        base: The map.
        adaptation: What changes its output.
    """

    def __init__(self, base: Linear, adaptation: Adaptation) -> None:
        has_bias = base.bias is not None  # pyright: ignore[reportUnnecessaryComparison]
        super().__init__(base.in_features, base.out_features, bias=has_bias, device="meta")
        self.weight, self.bias = base.weight, base.bias
        self.adaptation = adaptation

    def forward(self, input: Float[Tensor, "*P before"]) -> Float[Tensor, "*P after"]:
        """Apply the map and its adaptation to the last axis."""
        return self.adaptation(input, super().forward(input))
