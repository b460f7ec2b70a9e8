"""A contact sheet: many small images on one, with captions."""

from collections.abc import Sequence
from typing import BinaryIO

import torch
import torch.nn.functional as F

from seqtrans.images.data.image_files import save_png
from seqtrans.tensor_types import Tensor, UInt8

_SIDE = 96
"""Approximate size that images are enlarged to, by an integer factor to keep pixels sharp."""
_GAP = 4
_LINE = 13
"""Pixels from one line of a caption to the next."""
_LETTER = 6
"""Approximate width of a letter in pixels."""
_LETTERS = 32
"""Maximum letters of a line; longer ones are cut."""


def save_sheet(
    images: UInt8[Tensor, "N channels height width"],
    captions: Sequence[str],
    file: BinaryIO,
    columns: int = 6,
) -> None:
    """Write images side by side on white, row by row, as PNG; small ones enlarged.

    Args:
        images: Gray, or red, green and blue; at least one.
        captions: Caption of each image, all with the same number of lines.
        file: File to write.
        columns: Images per row.

    Raises:
        RecipeError: Pillow is not installed.
    """
    factor = max(1, _SIDE // max(images.shape[2:]))
    tiles = images.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    cut = [[_short(line) for line in caption.splitlines()] for caption in captions]
    below = _LINE * max(map(len, cut)) + _GAP
    letters = max(len(line) for lines in cut for line in lines)
    right = max(_GAP, _LETTER * letters - tiles.shape[3] + _GAP)
    tiles = F.pad(tiles.expand(-1, 3, -1, -1), (_GAP, right, _GAP, _GAP + below), value=255)
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    white = torch.full((rows * columns - len(tiles), *tiles.shape[1:]), 255, dtype=torch.uint8)
    height, width = tiles.shape[2:]
    grid = torch.cat((tiles, white)).unflatten(0, (rows, columns)).permute(0, 3, 1, 4, 2)
    places = [
        (
            number % columns * width + _GAP,
            (number // columns + 1) * height - below + _LINE * position,
            line,
        )
        for number, lines in enumerate(cut)
        for position, line in enumerate(lines)
    ]
    save_png(grid.reshape(rows * height, columns * width, 3).numpy(), places, file)


def _short(line: str) -> str:
    return line if len(line) <= _LETTERS else f"{line[: _LETTERS - 3]}..."
