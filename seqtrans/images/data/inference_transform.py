"""Read image files and prepare them as a network's training images were."""

from pathlib import Path
from typing import NamedTuple

import torch

from seqtrans.errors import DataError
from seqtrans.images.data.image_files import Resample, UnreadableImageError, decode_middle
from seqtrans.tensor_types import Float, Tensor

Rgb = tuple[float, float, float]


class InputSpec(NamedTuple):
    """How an image becomes the input of a network with published weights."""

    size: int
    """Height and width of the input, in pixels."""
    crop: float
    """Fraction of the shorter side that is kept; the side is first scaled to ``size / crop``."""
    interpolation: Resample
    mean: Rgb
    """Mean of red, green and blue, from 0 to 1."""
    std: Rgb
    """Standard deviation, in the same unit."""


def read_prepared(path: Path, spec: InputSpec) -> Float[Tensor, "3 size size"]:
    """Read an image file, scale it, crop its center, and normalize red, green and blue.

    Args:
        path: The file; transparent pixels become white.
        spec: What the network expects.

    Raises:
        DataError: The file is not a readable image.
        RecipeError: Pillow is not installed.
    """
    try:
        pixels = decode_middle(path, spec.size, spec.crop, spec.interpolation)
    except UnreadableImageError as error:
        raise DataError(f"{path}: not a readable image: {error}") from error
    return (torch.from_numpy(pixels) / 255 - _column(spec.mean)) / _column(spec.std)


def _column(values: Rgb) -> Float[Tensor, "3 1 1"]:
    return torch.tensor(values)[:, None, None]
