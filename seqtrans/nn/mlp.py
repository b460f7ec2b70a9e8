"""Multilayer perceptron, the last part of a classifier."""

from collections.abc import Sequence

from torch import nn

from seqtrans.nn.activations import ActivationName, activation
from seqtrans.nn.dropout import Dropout
from seqtrans.nn.kernels.linear import Linear
from seqtrans.tensor_types import Float, Tensor


class Dense(nn.Module):
    """Hidden layers, each with its activation and dropout, then one linear map.

    Args:
        input_dim: Features of an input.
        widths: Features of every hidden layer; if empty, there is only one linear map.
        output_dim: Features of an output.
        activation_name: Applied to every hidden layer.
        dropout: Probability of dropping a hidden feature while training.
    """

    def __init__(
        self,
        input_dim: int,
        widths: Sequence[int],
        output_dim: int,
        activation_name: ActivationName = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.hidden = nn.Sequential()
        for i, (before, width) in enumerate(zip((input_dim, *widths), widths, strict=False)):
            layers = Linear(before, width), activation(activation_name), Dropout(dropout)
            for j, layer in enumerate(layers if dropout else layers[:2]):
                self.hidden.add_module(str(3 * i + j), layer)  # weights fit with and without it
        self.output = Linear((input_dim, *widths)[-1], output_dim)

    def forward(self, x: Float[Tensor, "B before"]) -> Float[Tensor, "B after"]:
        """Transform every row."""
        return self.output(self.hidden(x))
