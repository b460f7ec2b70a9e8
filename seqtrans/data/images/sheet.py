"""Many small images on one, with a line below each, to be looked at."""

from collections.abc import Sequence
from typing import BinaryIO

import torch
import torch.nn.functional as F

from seqtrans.data.images.pillow import save_png
from seqtrans.shapes import Tensor, UInt8

_SIDE = 96
"""Pixels that images are enlarged to, about; by a whole factor, so that pixels stay sharp."""
_GAP = 4
_LINE = 14
"""Pixels for the words below an image."""


def save_sheet(
    images: UInt8[Tensor, "N channels height width"],
    captions: Sequence[str],
    file: BinaryIO,
    columns: int = 6,
) -> None:
    """Write images side by side on white, line by line, as PNG; small ones enlarged.

    Args:
        images: Grey, or red, green and blue; at least one.
        captions: What to write below each.
        file: Where to write.
        columns: Images a line.

    Raises:
        RecipeError: Pillow is not installed.
    """
    factor = max(1, _SIDE // max(images.shape[2:]))
    tiles = images.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    tiles = F.pad(tiles.expand(-1, 3, -1, -1), (_GAP, _GAP, _GAP, _GAP + _LINE), value=255)
    lines = -(-len(tiles) // columns)
    white = torch.full((lines * columns - len(tiles), *tiles.shape[1:]), 255, dtype=torch.uint8)
    height, width = tiles.shape[2:]
    grid = torch.cat((tiles, white)).unflatten(0, (lines, columns)).permute(0, 3, 1, 4, 2)
    places = [
        (number % columns * width + _GAP, (number // columns + 1) * height - _LINE, caption)
        for number, caption in enumerate(captions)
    ]
    save_png(grid.reshape(lines * height, columns * width, 3).numpy(), places, file)
