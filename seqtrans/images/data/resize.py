"""Resize batches of images."""

from dataclasses import dataclass

import torch.nn.functional as F

from seqtrans.config.types import Positive
from seqtrans.images.data.dataset import has_channels_last, to_channels_last
from seqtrans.images.data.image_files import Resample
from seqtrans.tensor_types import Tensor, UInt8


@dataclass(frozen=True, kw_only=True)
class ResizeConfig:
    """Size of a model's input, if it is not that of the images."""

    height: Positive
    """Height in pixels."""
    width: Positive
    """Width in pixels; the proportions of images may change."""
    resample: Resample = "bicubic"
    """Interpolation of pixels."""


def resize(
    images: UInt8[Tensor, "B channels old_height old_width"], config: ResizeConfig | None
) -> UInt8[Tensor, "B channels height width"]:
    """Resize images as Pillow does: antialiased if they shrink, and rounded.

    The result for an image does not depend on the batch; the memory format is kept.

    Args:
        images: Pixels.
        config: The new size; None returns the images unchanged.
    """
    if config is None:
        return images
    size = [config.height, config.width]
    resized = F.interpolate(images, size, mode=config.resample, antialias=True)
    # For one channel torch would not keep the strides of the memory format.
    return to_channels_last(resized) if has_channels_last(images) else resized.contiguous()
