"""Normalize pixels by the mean and standard deviation of the training images."""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch

from seqtrans.config.types import Fraction, PositiveFloat
from seqtrans.images.data.dataset import has_channels_last
from seqtrans.tensor_types import Float, Shaped, Tensor, UInt8

_BLOCK = 1024
"""Images measured at a time."""


@dataclass(frozen=True, kw_only=True)
class Normalization:
    """Mean and standard deviation of pixels."""

    mean: tuple[Fraction, ...]
    """Mean of every channel, where black is 0 and full intensity 1."""
    std: tuple[PositiveFloat, ...]
    """Standard deviation of every channel, in the same unit."""

    def __post_init__(self) -> None:
        if not self.mean or len(self.mean) != len(self.std):
            raise ValueError(
                f"mean has {len(self.mean)} channels and std {len(self.std)}; "
                "give both the number of channels of the images"
            )


def measure(images: UInt8[Tensor, "N channels height width"]) -> Normalization:
    """Measure the exact mean and standard deviation of every channel over all images.

    A constant channel gets the deviation 1.
    """
    channels = images.shape[1]
    total = torch.zeros(channels, dtype=torch.float64)
    squares = torch.zeros(channels, dtype=torch.float64)
    for block in images.split(_BLOCK):
        pixels = block.double()  # sums of integers below 2**53 are exact
        total += pixels.sum(dim=(0, 2, 3))
        squares += pixels.square_().sum(dim=(0, 2, 3))
    count = images.numel() // channels
    mean = total / count
    std = (squares / count - mean.square()).clamp_min(0).sqrt()
    std[std == 0] = 255.0
    return Normalization(mean=tuple((mean / 255).tolist()), std=tuple((std / 255).tolist()))


def normalize(
    images: Shaped[Tensor, "B channels height width"], normalisation: Normalization
) -> Float[Tensor, "B channels height width"]:
    """Return ``(pixel / 255 - mean) / std`` in fp32; the memory format is kept.

    Args:
        images: Pixels from 0 to 255, uint8 or fp32; fp32 is overwritten.
        normalisation: Mean and deviation of every channel, or of one for all.
    """
    numbers = images.float()
    # Separate multiplication and addition round twice, so results do not depend on the batch: a
    # fused multiply-add rounds once, and is not used for the last elements.
    channels, width = images.shape[1], images.shape[3]
    if channels > 1 and has_channels_last(numbers):
        # A short last axis is slow: take columns and channels as one.
        scale, shift = _factors(normalisation, channels, (width * channels,))
        numbers.permute(0, 2, 3, 1).flatten(2).mul_(scale).add_(shift)
    else:
        scale, shift = _factors(normalisation, channels, (channels, 1, 1))
        numbers.mul_(scale).add_(shift)
    return numbers


@lru_cache(maxsize=8)
def _factors(
    normalisation: Normalization, channels: int, shape: tuple[int, ...]
) -> tuple[Float[Tensor, "*S"], Float[Tensor, "*S"]]:
    """Return scale and shift of pixels, repeated to this shape."""
    mean = torch.tensor(normalisation.mean, dtype=torch.float64)
    std = torch.tensor(normalisation.std, dtype=torch.float64)
    both = (factor.float().expand(channels) for factor in (1 / (255 * std), -mean / std))
    scale, shift = (factor.repeat(math.prod(shape) // channels).view(shape) for factor in both)
    return scale, shift
