"""Images of a set at another size, a whole batch at once."""

from dataclasses import dataclass

import torch.nn.functional as F

from seqtrans.config.types import Positive
from seqtrans.images.data.dataset import has_channels_last, to_channels_last
from seqtrans.images.data.image_files import Resample
from seqtrans.tensor_types import Tensor, UInt8


@dataclass(frozen=True, kw_only=True)
class ResizeConfig:
    """The size at which a model sees images, where it is not theirs."""

    height: Positive
    """Height in pixels."""
    width: Positive
    """Width in pixels; proportions change where those of the images are others."""
    resample: Resample = "bicubic"
    """How pixels are made of others."""


def resize(
    images: UInt8[Tensor, "B channels old_height old_width"], config: ResizeConfig | None
) -> UInt8[Tensor, "B channels height width"]:
    """Images at another size, as Pillow makes them: smoothed where they shrink, and rounded.

    An image becomes the same bits whatever else is in the batch; the order in memory is kept.

    Args:
        images: Pixels.
        config: The new size; None: images are returned as they are.
    """
    if config is None:
        return images
    size = [config.height, config.width]
    resized = F.interpolate(images, size, mode=config.resample, antialias=True)
    # Of one channel torch would forget the strides that tell the order.
    return to_channels_last(resized) if has_channels_last(images) else resized.contiguous()
