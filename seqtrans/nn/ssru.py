"""The simpler simple recurrent unit, and a decoder layer with it (D19-5632, section 3.1)."""

from collections.abc import Callable

import torch
from torch import nn

from seqtrans.nn.attention.kv_cache import KeyValue
from seqtrans.nn.attention.multi_head import CrossAttention
from seqtrans.nn.dropout import LayerDropout, with_zero_gradients
from seqtrans.nn.kernels.linear import Linear
from seqtrans.nn.kernels.linear_scan import linear_scan
from seqtrans.nn.transformer import FeedForward, ReadsSource, Residual
from seqtrans.tensor_types import Bool, Float, Tensor


class SSRU(nn.Module):
    """A recurrent unit whose only product with the previous state is by features.

    With the forget gate f_t = sigmoid(F x_t + b), the cell is c_t = f_t c_{t-1} + (1 - f_t) W x_t
    and the output relu(c_t), as in Marian and Sockeye. Cells are computed in at least fp32.

    Args:
        dim: Features of input, cell and output.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.input = Linear(dim, dim, bias=False)
        self.forget_gate = Linear(dim, dim)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """Return the output at every position, which depends on those before."""
        return linear_scan(*self._gated(x)).relu().to(x.dtype)

    def begin(self, sentences: int, like: Float[Tensor, "..."]) -> Float[Tensor, "B 1 D"]:
        """Return the cell before the first position, on the device of a tensor."""
        dtype = torch.promote_types(like.dtype, torch.float32)
        return like.new_zeros((sentences, 1, self.input.out_features), dtype=dtype)

    def step(
        self, token: Float[Tensor, "B K D"], cell: Float[Tensor, "B K D"]
    ) -> tuple[Float[Tensor, "B K D"], Float[Tensor, "B K D"]]:
        """Return the output for one more token of each hypothesis, and the new cell."""
        forget, inputs = self._gated(token)
        cell = torch.addcmul(inputs, forget, cell)
        return cell.relu().to(token.dtype), cell

    def _gated(
        self, x: Float[Tensor, "B P D"]
    ) -> tuple[Float[Tensor, "B P D"], Float[Tensor, "B P D"]]:
        """Return the forget gate and the gated input."""
        wide = torch.promote_types(x.dtype, torch.float32)
        forget = self.forget_gate(x).to(wide).sigmoid()
        return forget, (1 - forget) * self.input(x)


class SSRULayer(ReadsSource):
    """An SSRU, attention to the source, then a feed-forward block.

    Args:
        recurrence: The SSRU.
        source_attention: The attention to the source.
        ffn: The feed-forward block.
        residual: Builds the residual connection of a block.
        layer_dropout: Probability of skipping the layer while training.
    """

    def __init__(
        self,
        recurrence: SSRU,
        source_attention: CrossAttention,
        ffn: FeedForward,
        residual: Callable[[], Residual],
        layer_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.recurrence_residual = residual()
        self.recurrence = recurrence
        self.source_residual = residual()
        self.source_attention = source_attention
        self.ffn_residual = residual()
        self.ffn = ffn
        self.layer_dropout = LayerDropout(layer_dropout)

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        memory: Float[Tensor, "B S M"],
        memory_mask: Bool[Tensor, "B S"],
    ) -> Float[Tensor, "B T D"]:
        """Transform every target position, which depends on those before."""
        if self.layer_dropout.skips():
            return with_zero_gradients(x, (memory, *self.parameters()))
        y = self.recurrence(self.recurrence_residual.branch(x))
        x = self.recurrence_residual.join(x, y)
        return self.read_source(x, self.source_attention.project(memory, memory_mask))

    def step(
        self, x: Float[Tensor, "B K D"], cell: Float[Tensor, "B K D"], source: KeyValue
    ) -> tuple[Float[Tensor, "B K D"], Float[Tensor, "B K D"]]:
        """Transform one new token per hypothesis; return the new cell, too."""
        y, cell = self.recurrence.step(self.recurrence_residual.branch(x), cell)
        return self.read_source(self.recurrence_residual.join(x, y), source), cell
