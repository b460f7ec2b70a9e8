"""Gated convolutions over the positions of a sequence (arXiv:1612.08083, arXiv:1705.03122)."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from seqtrans.nn.kernels.linear import Linear
from seqtrans.tensor_types import Float, Tensor


class GatedConvolution(nn.Module):
    """A convolution to twice as many features, half of which gate the others (GLU).

    It is computed as a linear map of windows, in training and step by step; its weights are those
    of ``nn.Conv1d``, flattened.

    Args:
        dim: Features of input and output.
        kernel_width: Number of positions that an output depends on.
        dropout: Probability of dropping a feature of the input, which the initial weights heed:
            outputs have about the variance of inputs (arXiv:1705.03122, 3.5).
    """

    def __init__(self, dim: int, kernel_width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.kernel_width = kernel_width
        self.projection = Linear(dim * kernel_width, 2 * dim)
        nn.init.normal_(
            self.projection.weight, std=math.sqrt(4 * (1 - dropout) / (dim * kernel_width))
        )
        nn.init.zeros_(self.projection.bias)

    def forward(self, x: Float[Tensor, "B P D"], before: int) -> Float[Tensor, "B P D"]:
        """Compute every position.

        Args:
            x: The input; outside of it there are zeros.
            before: How many positions of the kernel lie before that of the output: all but one for
                an output that depends on no later position.
        """
        padded = F.pad(x, (0, 0, before, self.kernel_width - 1 - before))
        return self._gate(padded.unfold(1, self.kernel_width, 1))

    def begin(self, sentences: int, like: Float[Tensor, "..."]) -> Float[Tensor, "B 1 W D"]:
        """Return the inputs before the first position, zeros of the type of a tensor."""
        dim = self.projection.in_features // self.kernel_width
        return like.new_zeros((sentences, 1, self.kernel_width - 1, dim))

    def step(
        self, token: Float[Tensor, "B K D"], window: Float[Tensor, "B K W D"]
    ) -> tuple[Float[Tensor, "B K D"], Float[Tensor, "B K W D"]]:
        """Return the output for one more token of each hypothesis, and the new window.

        ``window`` has the previous inputs, one less than the kernel's width.
        """
        window = torch.cat((window, token[:, :, None]), dim=2)
        return self._gate(window.transpose(2, 3)), window[:, :, 1:]

    def _gate(self, windows: Float[Tensor, "B P D width"]) -> Float[Tensor, "B P D"]:
        return F.glu(self.projection(windows.flatten(2)), dim=-1)
