"""Pictures from files, prepared as the images were that a network learnt from."""

from pathlib import Path
from typing import Literal

import numpy as np
import torch

from seqtrans.errors import DataError
from seqtrans.shapes import Float, Tensor

Rgb = tuple[float, float, float]


def read_prepared(
    path: Path,
    *,
    size: int,
    crop: float,
    interpolation: Literal["bilinear", "bicubic"],
    mean: Rgb,
    std: Rgb,
) -> Float[Tensor, "3 size size"]:
    """Read a picture, scale it, cut out the middle, and normalise it.

    Args:
        path: A picture in any format that Pillow reads.
        size: Height and width to return.
        crop: Fraction of the shorter side to return; the side is first scaled to
            ``size / crop``.
        interpolation: How to scale.
        mean: Subtracted from red, green and blue, in units of the brightest.
        std: What the difference is divided by.

    Returns:
        Red, green and blue.

    Raises:
        DataError: The file can't be read as a picture, or Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise DataError("reading pictures needs pip install 'seqtrans[images]'") from error
    resample = Image.Resampling[interpolation.upper()]
    try:
        with Image.open(path) as file:
            picture = file.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} can't be read as a picture: {error}") from error
    shorter = int(size / crop + 1e-6)  # a fraction of pixels may be the error of crop
    picture = picture.resize(_scaled(picture.size, shorter), resample)
    left, top = (round((side - size) / 2) for side in picture.size)
    pixels = np.array(picture.crop((left, top, left + size, top + size)))
    rgb = torch.from_numpy(pixels).permute(2, 0, 1) / 255
    return (rgb - _column(mean)) / _column(std)


def _scaled(size: tuple[int, int], shorter: int) -> tuple[int, int]:
    width, height = size
    if width < height:
        return shorter, int(shorter * height / width)
    return int(shorter * width / height), shorter


def _column(values: Rgb) -> Float[Tensor, "3 1 1"]:
    return torch.tensor(values)[:, None, None]
