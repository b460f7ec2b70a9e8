"""The position-wise network between attention blocks."""

from typing import Literal

from torch import nn

from seqtrans.nn.activations import activation as build_activation
from seqtrans.nn.dropout import Dropout
from seqtrans.nn.kernels.linear import Linear
from seqtrans.tensor_types import Float, Tensor

Activation = Literal["relu", "gelu", "silu", "gated"]


class FeedForward(nn.Module):
    """Two linear maps with an activation between, applied at every position alike.

    Args:
        model_dim: Features of input and output.
        ffn_dim: Features between the maps.
        activation: ``relu`` (arXiv:1706.03762, 3.3), ``gelu``, ``silu``, or ``gated``: SwiGLU
            (arXiv:2002.05202), a third map gated by a SiLU.
        dropout: Probability of dropping a feature between the maps while training.
    """

    def __init__(
        self, model_dim: int, ffn_dim: int, activation: Activation = "relu", dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.is_gated = activation == "gated"
        self.activation = build_activation("silu" if activation == "gated" else activation)
        self.input = Linear(model_dim, 2 * ffn_dim if self.is_gated else ffn_dim)
        self.output = Linear(ffn_dim, model_dim)
        self.dropout = Dropout(dropout)

    def forward(self, x: Float[Tensor, "B P D"]) -> Float[Tensor, "B P D"]:
        """Transform every position."""
        return self.output(self.dropout(self._activate(self.input(x))))

    def _activate(self, x: Float[Tensor, "B P inner"]) -> Float[Tensor, "B P F"]:
        if not self.is_gated:
            return self.activation(x)
        gate, value = x.chunk(2, dim=-1)
        return self.activation(gate) * value
