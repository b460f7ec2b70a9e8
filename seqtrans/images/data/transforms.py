"""Transforms of augmentation for batches, with parameters for each image.

The functions are deterministic. The result for an image does not depend on the batch, and the
memory format is kept.
"""

import numpy as np
import torch
import torch.nn.functional as F

from seqtrans.images.data.dataset import has_channels_last, select, to_channels_last
from seqtrans.tensor_types import Bool, Float, Int, Tensor, UInt8


def crop_padded(
    images: UInt8[Tensor, "B channels height width"],
    padding: int,
    top: Int[Tensor, " B"],
    left: Int[Tensor, " B"],
) -> UInt8[Tensor, "B channels height width"]:
    """Add ``padding`` black pixels on every side, and crop to the old size.

    Args:
        images: Pixels.
        padding: Pixels on each side.
        top: First row of each crop, from 0 to ``2 * padding``; ``padding`` is the old position.
        left: First column, in the same range.
    """
    height, width = images.shape[2:]
    padded = F.pad(images, (padding,) * 4)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    return _like(windows[torch.arange(len(images)), :, top, left], images)


def flip(
    images: UInt8[Tensor, "B channels height width"], chosen: Bool[Tensor, " B"]
) -> UInt8[Tensor, "B channels height width"]:
    """Swap left and right of the chosen images, in place."""
    numbers = chosen.nonzero()[:, 0]
    images[numbers] = select(images, numbers).flip(-1)
    return images


def rotate(
    images: UInt8[Tensor, "B channels height width"], degrees: Float[Tensor, " B"]
) -> Float[Tensor, "B channels height width"]:
    """Rotate images counterclockwise around their center; bilinear, rounded, black outside.

    Args:
        images: Pixels.
        degrees: Angle of each image, fp64: rounding errors of sine and cosine vanish in fp32, so
            results do not depend on the processor's instructions.
    """
    height, width = images.shape[2:]
    sine, cosine = _sine(degrees), _sine(degrees + 90)
    # Twice the distance from the center. Small arrays cost NumPy less time than torch.
    x, y = (2.0 * np.arange(side) - (side - 1) for side in (width, height))
    # The origin of a pixel is linear in its position: the sum of a term of its column and one of
    # its row. Complex numbers are used only as pairs that are added by one instruction.
    column = _pairs(cosine * x / width, sine * x / height)
    row = _pairs(-sine * y / width, cosine * y / height)
    origin = torch.view_as_real(column[:, None, :] + row[:, :, None])
    turned = F.grid_sample(images.float(), origin, padding_mode="zeros", align_corners=False)
    return _like(turned.round_(), images)


def cut_out(
    images: Float[Tensor, "B channels height width"],
    size: int,
    row: Int[Tensor, " B"],
    column: Int[Tensor, " B"],
) -> Float[Tensor, "B channels height width"]:
    """Set a square of each image to 0, in place; it is clipped at the border.

    Args:
        images: Normalized pixels, so that 0 is the mean.
        size: Side of the square in pixels.
        row: Row of the square's center; for an even size, the lower of the two middle rows.
        column: Column of the center, by the same rule.
    """
    height, width = images.shape[2:]
    rows = torch.arange(height) - row[:, None] + size // 2
    columns = torch.arange(width) - column[:, None] + size // 2
    in_rows = ((rows >= 0) & (rows < size)).float()
    in_columns = ((columns >= 0) & (columns < size)).float()
    if has_channels_last(images):  # a short last axis is slow: take columns and channels as one
        in_columns = in_columns.repeat_interleave(images.shape[1], dim=1)
        images.permute(0, 2, 3, 1).flatten(2).mul_(1 - in_rows[:, :, None] * in_columns[:, None])
    else:
        images.mul_(1 - in_rows[:, None, :, None] * in_columns[:, None, None, :])
    return images


def mix(
    images: Float[Tensor, "B channels height width"], weights: Float[Tensor, " B"]
) -> Float[Tensor, "B channels height width"]:
    """Return ``weight * image + (1 - weight) * partner``, with the next image as partner.

    The last one's partner is the first.
    """
    rows = images.permute(0, 2, 3, 1) if has_channels_last(images) else images
    mixed = torch.cat((rows[1:], rows[:1])).lerp_(rows, weights[:, None, None, None])
    return mixed.permute(0, 3, 1, 2) if has_channels_last(images) else mixed


def _sine(degrees: Float[Tensor, " B"]) -> Float[np.ndarray, "B 1"]:
    return np.sin(np.deg2rad(degrees.numpy()))[:, None]


def _pairs(first: Float[np.ndarray, "B N"], second: Float[np.ndarray, "B N"]) -> Tensor:
    """Combine two arrays as fp32 complex numbers."""
    pairs = np.empty(first.shape, dtype=np.complex64)
    pairs.real, pairs.imag = first, second
    return torch.from_numpy(pairs)


def _like(images: Tensor, model: Tensor) -> Tensor:
    """Return images in the memory format of ``model``; copied only if it differs."""
    return to_channels_last(images) if has_channels_last(model) else images.contiguous()
