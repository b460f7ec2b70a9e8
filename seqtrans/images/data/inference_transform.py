"""Read image files and prepare them as a network's training images were."""

from pathlib import Path

import torch

from seqtrans.errors import DataError
from seqtrans.images.data.image_files import Resample, UnreadableImageError, decode_middle
from seqtrans.tensor_types import Float, Tensor

Rgb = tuple[float, float, float]


def read_prepared(
    path: Path,
    *,
    size: int,
    crop: float,
    interpolation: Resample,
    mean: Rgb,
    std: Rgb,
) -> Float[Tensor, "3 size size"]:
    """Read a picture, scale it, cut out the middle, and normalize it.

    Args:
        path: A picture; transparent pixels become white.
        size: Height and width to return.
        crop: Fraction of the shorter side to return; the side is first scaled to
            ``size / crop``.
        interpolation: Interpolation of pixels.
        mean: Mean of red, green and blue, from 0 to 1.
        std: Standard deviation, in the same unit.

    Returns:
        Red, green and blue.

    Raises:
        DataError: The file can't be read as a picture.
        RecipeError: Pillow is not installed.
    """
    try:
        pixels = decode_middle(path, size, crop, interpolation)
    except UnreadableImageError as error:
        raise DataError(f"{path} can't be read as a picture: {error}") from error
    return (torch.from_numpy(pixels) / 255 - _column(mean)) / _column(std)


def _column(values: Rgb) -> Float[Tensor, "3 1 1"]:
    return torch.tensor(values)[:, None, None]
