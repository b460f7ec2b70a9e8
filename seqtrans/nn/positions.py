"""Sinusoidal, learned, rotary and relative positions.

Vectors are computed when needed, unless they are learned: no buffer has to be moved, cast, saved
or resized.
"""

import math
from typing import NamedTuple

import torch
from torch import nn

from seqtrans.errors import DataError
from seqtrans.nn.initialize import scaled_normal_embedding
from seqtrans.tensor_types import Bool, Float, Int, Tensor


def positions_of(x: Float[Tensor, "B P D"]) -> Int[Tensor, " P"]:
    """Return the numbers of positions, from 0."""
    return torch.arange(x.size(1), device=x.device)


def at_last_position(
    states: Float[Tensor, "B P D"], mask: Bool[Tensor, "B P"]
) -> Float[Tensor, "B D"]:
    """Return the state of each sentence at its last real position; padding is on the right."""
    sentence = torch.arange(mask.size(0), device=mask.device)
    return states[sentence, mask.sum(dim=1) - 1]


def sinusoids(position: Int[Tensor, " P"], dim: int) -> Float[Tensor, "P D"]:
    """Return interleaved sines and cosines in fp32, of even size (arXiv:1706.03762, 3.5)."""
    angle = _angles(position, dim)
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)


class SinusoidalPositions(nn.Module):
    """Adds sinusoids; sentences may have any length."""

    def forward(
        self, x: Float[Tensor, "B P D"], position: Int[Tensor, " #P"]
    ) -> Float[Tensor, "B P D"]:
        """Add the vector of its position to every token."""
        return x + sinusoids(position, x.size(-1)).to(x.dtype)


class LearnedPositions(nn.Module):
    """Adds a learned vector per position.

    Training on a sentence of more than ``max_positions`` tokens is an error. In translation, later
    positions share the last vector, so that one long line does not end the run.

    Args:
        max_positions: Number of learned vectors.
        dim: Features of a token.
    """

    def __init__(self, max_positions: int, dim: int) -> None:
        super().__init__()
        self.max_positions = max_positions
        self.table = nn.Embedding(max_positions, dim)
        scaled_normal_embedding(self.table)

    def forward(
        self, x: Float[Tensor, "B P D"], position: Int[Tensor, " #P"]
    ) -> Float[Tensor, "B P D"]:
        """Add the vector of its position to every token.

        Raises:
            DataError: A training sentence is longer than ``max_positions``.
        """
        if self.training and position.size(0) > self.max_positions:
            raise DataError(
                f"a training sentence of {position.size(0)} tokens, but learned positions end at "
                f"max_positions {self.max_positions}; raise it or filter by a smaller max_length"
            )
        return x + self.table(position.clamp(max=self.max_positions - 1))


class Rotation(NamedTuple):
    """Angles that rotate queries and keys so that their product depends on their distance.

    Rotary positions (arXiv:2104.09864, 3.2): feature e and feature e + E/2 of a head are the
    two coordinates of a point (the paper pairs neighbors; a permutation of features).
    """

    cos: Float[Tensor, "#P half"]
    sin: Float[Tensor, "#P half"]

    def rotate(self, x: Float[Tensor, "B H P E"]) -> Float[Tensor, "B H P E"]:
        """Rotate each pair of features by the angle of its position."""
        first, second = x.chunk(2, dim=-1)
        rotated = (first * self.cos - second * self.sin, second * self.cos + first * self.sin)
        return torch.cat(rotated, dim=-1).to(x.dtype)


def rotation(position: Int[Tensor, " P"], head_dim: int) -> Rotation:
    """Return the rotation of every position, in fp32; ``head_dim`` is even."""
    angle = _angles(position, head_dim)
    return Rotation(angle.cos(), angle.sin())


class RelativePositions(nn.Module):
    """A learned bias of attention scores by distance (arXiv:1910.10683, 2.1), for all layers.

    Half of the buckets have one distance each. The others grow with the logarithm of the distance
    up to 128; the last has all that is farther. The bias needs no attention weights, so it works
    with fused attention, unlike the vectors of arXiv:1803.02155 that are added to values.

    Args:
        num_heads: Number of heads; each has its own bias.
        looks_ahead: Whether keys may lie behind the query; they then have half of the buckets.
    """

    BUCKETS = 32
    FARTHEST = 128

    def __init__(self, num_heads: int, *, looks_ahead: bool) -> None:
        super().__init__()
        self.table = nn.Embedding(self.BUCKETS, num_heads)
        self.looks_ahead = looks_ahead
        scaled_normal_embedding(self.table)

    def forward(
        self,
        query: Int[Tensor, " #Q"],
        key: Int[Tensor, " M"],
        mask: Bool[Tensor, "#B 1 #Q M"],
    ) -> Float[Tensor, "#B H Q M"]:
        """Return the bias for positions of queries and keys; minus infinity outside the mask."""
        bias = self.table(self.bucket(key - query[:, None])).permute(2, 0, 1)  # (H, Q, M)
        return torch.where(mask, bias, float("-inf"))

    def bucket(self, distance: Int[Tensor, "Q M"]) -> Int[Tensor, "Q M"]:
        """Return the bucket of the distance from a query to a key."""
        buckets = self.BUCKETS // 2 if self.looks_ahead else self.BUCKETS
        exact = buckets // 2
        far = distance.abs().clamp(max=self.FARTHEST)
        growth = (buckets - exact) / math.log(self.FARTHEST / exact)
        # The summand keeps exact powers on their side of the border, on every device.
        rough = exact + ((far.clamp(min=exact) / exact).log() * growth + 1e-4).long()
        bucket = torch.where(far < exact, far, rough.clamp(max=buckets - 1))
        return bucket + buckets * (distance > 0) if self.looks_ahead else bucket


def _angles(position: Int[Tensor, " P"], dim: int) -> Float[Tensor, "P half"]:
    pair = torch.arange(0, dim, 2, device=position.device, dtype=torch.float32)
    return position[:, None] * torch.exp(pair * (-math.log(10_000.0) / dim))
