"""Dropout, faster on CPU than torch's, drawn per position or once per sequence, and of layers."""

from collections.abc import Callable, Iterable
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from seqtrans.tensor_types import Float, Tensor


class Dropout(nn.Module):
    """Drops features while training and scales up the others; in evaluation, the identity.

    Args:
        dropout: Probability of dropping a feature.
        locked: Drop the same features at every position of a sequence (variational dropout,
            arXiv:1512.05287).
    """

    def __init__(self, dropout: float, *, locked: bool = False) -> None:
        super().__init__()
        self.dropout = dropout
        self.locked = locked

    def forward(self, x: Float[Tensor, "B *P D"]) -> Float[Tensor, "B *P D"]:
        """Apply dropout to every position."""
        factors = self.factors(x[:, :1] if self.locked else x)
        return x if factors is None else x * factors

    def factors(self, like: Float[Tensor, "*N D"]) -> Float[Tensor, "*N D"] | None:
        """Return 0 for features to drop and the scale for others; None if dropout is off."""
        if not self.training or not self.dropout:
            return None
        return dropout_factors(like, self.dropout)

    def along(self, like: Float[Tensor, "*N D"], steps: int) -> list[Tensor | None]:
        """Return ``factors`` for each step of a sequence."""
        if self.locked:
            return [self.factors(like)] * steps
        return [self.factors(like) for _ in range(steps)]


class ChannelDropout(Dropout):
    """Drops whole channels of images while training and scales up the others.

    Neighboring pixels are strongly correlated, so dropping single ones has little effect
    (arXiv:1411.4280, 3.2).

    Args:
        dropout: Probability of dropping a channel.
    """

    def __init__(self, dropout: float) -> None:
        super().__init__(dropout)

    def forward(
        self, x: Float[Tensor, "B channels height width"]
    ) -> Float[Tensor, "B channels height width"]:
        """Apply dropout to the channels of every image."""
        factors = self.factors(x[:, :, :1, :1])
        return x if factors is None else x * factors


class LayerDropout(nn.Module):
    """Draws which layers to skip while training (LayerDrop, arXiv:1909.11556).

    Args:
        dropout: Probability of skipping a layer.
    """

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        if dropout:  # torch.compile warns of a draw that it compiles; imports it, which takes 1 s
            self._draw = cast("Callable[[], float]", torch.compiler.disable(_draw))

    def skips(self) -> bool:
        """Draw whether to skip a layer, by torch's generator of the CPU."""
        return self.training and self.dropout > 0 and self._draw() < self.dropout


def _draw() -> float:
    """Return a random number from 0 to 1."""
    return torch.rand(()).item()


def with_zero_gradients(
    x: Float[Tensor, "B P D"], unused: Iterable[Tensor]
) -> Float[Tensor, "B P D"]:
    """Return ``x``, from which tensors that a skipped layer would use get gradients of 0.

    Processes that train together exchange the gradient of every parameter, but skip different
    layers.
    """
    sums = [tensor.sum() for tensor in unused if tensor.requires_grad]
    return x + 0 * torch.stack(sums).sum() if sums else x


def dropout_factors(like: Float[Tensor, "*N D"], dropout: float) -> Float[Tensor, "*N D"]:
    """Draw a tensor like ``like``: 0 with probability ``dropout``, else 1 / (1 - dropout).

    On CPU the cost of dropout is drawing random numbers, and torch draws one per feature. Here each
    64-bit integer decides on four features by 16 bits each, which rounds the probability to a
    multiple of 1 / 65536. NumPy's fastest generator draws it, seeded by torch's. For four million
    features in bf16 that takes 3 ms, ``F.dropout`` 25 (2 threads, Zen 4).
    """
    if like.device.type != "cpu" or torch.compiler.is_compiling():
        return F.dropout(torch.ones_like(like, requires_grad=False), dropout)
    seed = int(torch.empty((), dtype=torch.int64).random_())  # at least 0
    words = np.random.SFC64(seed).random_raw((like.numel() + 3) // 4)
    bits = torch.from_numpy(words.view(np.int16))[: like.numel()].view(like.shape)
    kept = torch.empty_like(like, requires_grad=False)
    torch.ge(bits, round(dropout * 65536) - 32768, out=kept)
    return kept.mul_(1 / (1 - dropout))
