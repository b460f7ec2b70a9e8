"""Dropout over sequences."""

import torch.nn.functional as F
from torch import nn

from seqtrans.shapes import Float, Tensor


class SequenceDropout(nn.Module):
    """Drops features of a sequence: anew at every position, or the same at all of them.

    Args:
        dropout: Probability of dropping a feature while training.
        locked: Draw one mask per sequence (variational dropout, arXiv:1512.05287) instead of
            one per position.
    """

    def __init__(self, dropout: float, *, locked: bool = False) -> None:
        super().__init__()
        self.dropout = dropout
        self.locked = locked

    def forward(self, x: Float[Tensor, "B P D"]) -> Float[Tensor, "B P D"]:
        """Drop features and scale up the others; the identity outside training."""
        if not self.locked:
            return F.dropout(x, self.dropout, self.training)
        factors = self.factors(x[:, :1])
        return x if factors is None else x * factors

    def factors(self, like: Float[Tensor, "*N D"]) -> Float[Tensor, "*N D"] | None:
        """0 where a feature is to be dropped, else the scale; None where nothing is."""
        if not self.training or not self.dropout:
            return None
        return F.dropout(like.detach().new_ones(like.shape), self.dropout)

    def along(self, like: Float[Tensor, "B D"], steps: int) -> list[Tensor | None]:
        """``factors`` for each step, for those who go through a sequence step by step."""
        if self.locked:
            return [self.factors(like)] * steps
        return [self.factors(like) for _ in range(steps)]
