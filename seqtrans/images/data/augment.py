"""Augmentation: a pure function of seed, epoch and image."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Le
from jaxtyping import Integer

from seqtrans.config.types import Fraction, NonNegative, NonNegativeFloat
from seqtrans.images.data.counter_rng import Draw, Draws
from seqtrans.images.data.normalize import Normalization, normalize
from seqtrans.images.data.resize import ResizeConfig, resize
from seqtrans.images.data.transforms import crop_padded, cut_out, flip, rotate
from seqtrans.tensor_types import Float, Shaped, Tensor, UInt8


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """How training images are changed at random, in this order. By default nothing is changed."""

    pad_crop: NonNegative = 0
    """Black pixels added on every side, before the old size is cut out at a random position."""
    flip: Fraction = 0.0
    """Share of images whose left and right are swapped."""
    rotate: Annotated[float, Ge(0.0), Le(180.0)] = 0.0
    """Largest angle in degrees by which an image is rotated either way, uniformly at random."""
    cutout: NonNegative = 0
    """Side of a square anywhere in the image that becomes the mean (arXiv:1708.04552), in pixels
    as the model sees them: of the new size where images are resized."""
    mixup: NonNegativeFloat = 0.0
    """Images are mixed with another's by a share drawn from Beta(mixup, mixup), if not 0
    (arXiv:1710.09412)."""


def augment(
    images: UInt8[Tensor, "B channels height width"],
    numbers: Integer[np.ndarray, " B"],
    draws: Draws,
    config: AugmentConfig,
    normalisation: Normalization,
    new_size: ResizeConfig | None = None,
) -> Float[Tensor, "B channels new_height new_width"]:
    """Change, resize and normalize the images of a batch independently: all steps but ``mixup``.

    Args:
        images: Pixels; may be overwritten.
        numbers: Number of each image in its set.
        draws: Random numbers of the epoch.
        config: What to do.
        normalisation: Mean and deviation of the channels.
        new_size: Size after cropping, flipping and rotating; None keeps it.
    """
    if config.pad_crop:
        places = 2 * config.pad_crop + 1
        top, left = (draws.below(numbers, draw, places) for draw in (Draw.TOP, Draw.LEFT))
        images = crop_padded(images, config.pad_crop, top, left)
    if config.flip:
        images = flip(images, draws.uniform(numbers, Draw.FLIP) < config.flip)
    changed: Shaped[Tensor, "B channels height width"] = images
    if config.rotate:
        degrees = (2 * draws.uniform(numbers, Draw.ANGLE) - 1) * config.rotate
        changed = rotate(images, degrees)
    if new_size:
        changed = resize(changed.to(torch.uint8), new_size)  # rotation has rounded, too
    result = normalize(changed, normalisation)
    if config.cutout:
        height, width = result.shape[2:]
        row = draws.below(numbers, Draw.ROW, height)
        column = draws.below(numbers, Draw.COLUMN, width)
        result = cut_out(result, config.cutout, row, column)
    return result
