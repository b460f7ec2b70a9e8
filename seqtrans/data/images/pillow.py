"""Image files to pixels: the only module that knows Pillow, which is the extra ``images``."""

import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

import numpy as np
from annotated_types import Gt, Le
from jaxtyping import UInt8

from seqtrans.errors import DataError, RecipeError
from seqtrans.ranges import Positive

Resample = Literal["bilinear", "bicubic"]
_FORMATS = ("PNG", "JPEG")
_MOST_PIXELS = 50_000_000  # of one image: 15 bytes each while it is decoded
_MANY_PIXELS = 4_000_000
_ONE_AT_A_TIME = threading.Lock()  # images of many pixels, whatever the number of threads


@dataclass(frozen=True, kw_only=True)
class Fitting:
    """How an image file of any size becomes pixels of one size."""

    channels: Literal[1, 3] = 3
    """1 for grey, 3 for red, green and blue; images that are neither are converted."""
    height: Positive | None = None
    """Height in pixels, with ``width``; if null images must have one size and keep it."""
    width: Positive | None = None
    """Width in pixels."""
    fit: Literal["crop", "stretch"] = "crop"
    """Cut what sticks out around the centre, or change the proportions."""
    crop: Annotated[float, Gt(0.0), Le(1.0)] = 1.0
    """Share of the shorter side that is kept: 0.875 leaves a border out on all sides."""
    resample: Resample = "bilinear"
    """How pixels are made of others."""

    def __post_init__(self) -> None:
        if (self.height is None) != (self.width is None):
            missing = "height" if self.height is None else "width"
            raise ValueError(f"{missing} is missing: give height and width, or neither")
        if self.height is None and (self.fit, self.crop, self.resample) != Fitting.UNSIZED:
            raise ValueError("fit, crop and resample need height and width")

    UNSIZED = ("crop", 1.0, "bilinear")


class UnreadableImageError(Exception):
    """A file is no image that can be read; the message is one line and names no file."""


def require_pillow() -> Any:
    """The module ``PIL.Image``.

    Raises:
        RecipeError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise RecipeError(
            "image files need Pillow: install it with pip install 'seqtrans[images]'"
        ) from error
    return Image


def decode(path: Path, fitting: Fitting) -> UInt8[np.ndarray, "channels height width"]:
    """The pixels of a PNG or JPEG file, turned upright as a camera noted, and made to fit.

    What is transparent shows the colour that the file has there.

    Raises:
        UnreadableImageError: The file is damaged, of another format, far too large, or has more
            than 8 bits a channel.
        DataError: The file can't be opened.
        RecipeError: Pillow is not installed.
    """
    return _decode(path, fitting.channels, lambda image: _sized(image, fitting), _FORMATS)


def decode_middle(
    path: Path, size: int, crop: float, resample: Resample
) -> UInt8[np.ndarray, "3 size size"]:
    """The middle of a picture in any format that Pillow reads, turned upright and scaled.

    Args:
        path: The file.
        size: Height and width to return.
        crop: Fraction of the shorter side to return; the side is first scaled to whole pixels,
            ``size / crop``, which is how published networks see their images.
        resample: How to scale.

    Raises:
        UnreadableImageError, DataError, RecipeError: As ``decode``.
    """
    shorter = int(size / crop + 1e-6)  # a fraction of pixels may be the error of crop

    def middle(image: Any) -> Any:
        scaled = image.resize(_scaled(image.size, shorter), _method(resample))
        left, top = (round((side - size) / 2) for side in scaled.size)
        return scaled.crop((left, top, left + size, top + size))

    return _decode(path, 3, middle, None)


def save_png(
    pixels: UInt8[np.ndarray, "height width 3"],
    words: Sequence[tuple[int, int, str]],
    file: BinaryIO,
) -> None:
    """Write red, green and blue as PNG.

    Args:
        pixels: The image.
        words: What to write onto it in black: left and upper edge in pixels, and the text.
        file: Where to write.

    Raises:
        RecipeError: Pillow is not installed.
    """
    image = require_pillow().fromarray(pixels)
    from PIL import ImageDraw

    draw = ImageDraw.Draw(image)
    for left, top, text in words:  # the font that is always there may know no other letters
        draw.text((left, top), text.encode("ascii", "replace").decode(), fill=(0, 0, 0))
    image.save(file, format="PNG")


def _decode(
    path: Path,
    channels: Literal[1, 3],
    shape: Callable[[Any], Any],
    formats: Sequence[str] | None,
) -> np.ndarray:
    """Open, turn upright, convert and ``shape`` an image; see ``decode``."""
    library = require_pillow()
    try:
        with path.open("rb") as file, library.open(file, formats=formats) as image:
            width, height = image.size
            if width * height > _MOST_PIXELS:
                raise UnreadableImageError(
                    f"{width:,} x {height:,} pixels are far too many; make it smaller"
                )
            with _ONE_AT_A_TIME if width * height > _MANY_PIXELS else nullcontext():
                return _pixels(image, channels, shape)
    except OSError as error:
        if error.filename is not None:  # else it is Pillow that complains of the content
            raise DataError(f"{path}: can't be read: {error.strerror or error}") from error
        raise UnreadableImageError(_line(error)) from error
    except UnreadableImageError:
        raise
    except Exception as error:  # decoders of damaged files raise nearly anything
        raise UnreadableImageError(_line(error)) from error


def _pixels(image: Any, channels: int, shape: Callable[[Any], Any]) -> np.ndarray:
    from PIL import ImageOps

    if image.mode.startswith(("I", "F")):
        raise UnreadableImageError("more than 8 bits a channel; convert it to 8")
    upright = ImageOps.exif_transpose(image)
    if "transparency" in upright.info:
        upright = upright.convert("RGBA")
    pixels = np.array(shape(_coloured(upright, channels)))
    return np.ascontiguousarray(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))


def _coloured(image: Any, channels: int) -> Any:
    return image.convert("L" if channels == 1 else "RGB")


def _sized(image: Any, fitting: Fitting) -> Any:
    if fitting.height is None or fitting.width is None:
        return image
    width, height = image.size
    if fitting.fit == "crop":  # the largest part of the wanted proportions
        scale = min(width / fitting.width, height / fitting.height)
        width, height = fitting.width * scale, fitting.height * scale
    width, height = width * fitting.crop, height * fitting.crop
    left, top = (image.size[0] - width) / 2, (image.size[1] - height) / 2
    return image.resize(
        (fitting.width, fitting.height),
        resample=_method(fitting.resample),
        box=(left, top, left + width, top + height),
    )


def _method(resample: Resample) -> Any:
    return require_pillow().Resampling[resample.upper()]


def _scaled(size: tuple[int, int], shorter: int) -> tuple[int, int]:
    width, height = size
    if width < height:
        return shorter, int(shorter * height / width)
    return int(shorter * width / height), shorter


def _line(error: BaseException) -> str:
    if type(error).__name__ == "UnidentifiedImageError":  # which tells the name of the file again
        return "it is of no known kind, or its beginning is damaged"
    return " ".join(str(error).split()) or type(error).__name__
