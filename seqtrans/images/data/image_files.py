"""Decode image files: the only module that imports Pillow, of the extra ``images``."""

import threading
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

import numpy as np
from annotated_types import Gt, Le
from jaxtyping import UInt8

from seqtrans.config.types import Positive
from seqtrans.errors import DataError, RecipeError

Resample = Literal["bilinear", "bicubic"]
Rgb = tuple[int, int, int]
WHITE: Rgb = (255, 255, 255)
KINDS = "PNG, JPEG, WebP, BMP, GIF, TIFF, PPM or PGM"
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
_MOST_PIXELS = 50_000_000  # per image; decoding takes 16 bytes for each
_MANY_PIXELS = 4_000_000
_ONE_AT_A_TIME = threading.Lock()  # for large images, whatever the number of threads


@dataclass(frozen=True, kw_only=True)
class Fitting:
    """How image files of any size are converted to pixels of one size."""

    channels: Literal[1, 3] = 3
    """1 for gray, 3 for red, green and blue; other images are converted."""
    height: Positive | None = None
    """Height in pixels, with ``width``; if null, images must all have one size and keep it."""
    width: Positive | None = None
    """Width in pixels."""
    fit: Literal["crop", "stretch"] = "crop"
    """Crop around the center to the new proportions, or change the proportions."""
    crop: Annotated[float, Gt(0.0), Le(1.0)] = 1.0
    """Share of the shorter side that is kept: 0.875 removes a border on all sides."""
    resample: Resample = "bilinear"
    """Interpolation of pixels."""

    def __post_init__(self) -> None:
        if (self.height is None) != (self.width is None):
            missing = "height" if self.height is None else "width"
            raise ValueError(f"{missing} is missing: give height and width, or neither")
        if self.height is None and (self.fit, self.crop, self.resample) != Fitting.UNSIZED:
            raise ValueError("fit, crop and resample need height and width")

    UNSIZED = ("crop", 1.0, "bilinear")


class UnreadableImageError(Exception):
    """A file can't be read as an image; the message is one line without the file's name."""


def require_pillow() -> Any:
    """Return the module ``PIL.Image``.

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


def color(name: str) -> Rgb:
    """Return red, green and blue of a color given by its name in CSS or as ``#rrggbb``.

    Raises:
        ValueError: There is no such color.
        RecipeError: Pillow, which knows all names but white, is not installed.
    """
    if name == "white":
        return WHITE
    require_pillow()
    from PIL import ImageColor

    try:
        rgb = ImageColor.getrgb(name)
    except ValueError:
        rgb = ()
    if len(rgb) != 3:  # a fourth value would be the opacity
        raise ValueError(
            f"background {name!r} is not a color: give a name of CSS, '#rrggbb', or a list of red, "
            "green and blue from 0 to 255"
        )
    return rgb


def decode(
    path: Path, fitting: Fitting, background: Rgb | None = WHITE
) -> UInt8[np.ndarray, "channels height width"]:
    """Decode an image file, rotate it as its camera noted, and fit it to the size.

    Of an animation or a file of many pages the first image is used. 16 bits per channel become 8,
    and floating point values, which must be from 0 to 1, are scaled to 0 to 255.

    Args:
        path: A file of one of ``KINDS``, detected from its content.
        fitting: Size and channels of the result.
        background: Red, green and blue, from 0 to 255, for transparent pixels. None: the color
            that the file stores for them, which was not meant to be seen.

    Raises:
        UnreadableImageError: The file is damaged, of another kind, far too large, or has values of
            unknown range.
        DataError: The file can't be opened.
        RecipeError: Pillow is not installed.
    """
    return _decode(path, fitting.channels, lambda image: _sized(image, fitting), background)


def decode_middle(
    path: Path, size: int, crop: float, resample: Resample
) -> UInt8[np.ndarray, "3 size size"]:
    """Decode the middle of a picture, rotated upright and scaled, on white if transparent.

    Args:
        path: The file.
        size: Height and width to return.
        crop: Fraction of the shorter side to return; the side is first scaled to whole pixels,
            ``size / crop``, as published networks do.
        resample: Interpolation.

    Raises:
        UnreadableImageError, DataError, RecipeError: As ``decode``.
    """
    shorter = int(size / crop + 1e-6)  # a fraction of pixels may be the error of crop

    def middle(image: Any) -> Any:
        scaled = image.resize(_scaled(image.size, shorter), _method(resample))
        left, top = (round((side - size) / 2) for side in scaled.size)
        return scaled.crop((left, top, left + size, top + size))

    return _decode(path, 3, middle, WHITE)


def save_png(
    pixels: UInt8[np.ndarray, "height width 3"],
    words: Sequence[tuple[int, int, str]],
    file: BinaryIO,
) -> None:
    """Write red, green and blue as PNG.

    Args:
        pixels: The image.
        words: Texts to write in black: left and upper edge in pixels, and the text.
        file: File to write.

    Raises:
        RecipeError: Pillow is not installed.
    """
    image = require_pillow().fromarray(pixels)
    from PIL import ImageDraw

    draw = ImageDraw.Draw(image)
    for left, top, text in words:  # Pillow's default font may have only ASCII
        draw.text((left, top), text.encode("ascii", "replace").decode(), fill=(0, 0, 0))
    image.save(file, format="PNG")


def _decode(
    path: Path,
    channels: Literal[1, 3],
    shape: Callable[[Any], Any],
    background: Rgb | None,
) -> np.ndarray:
    """Open, rotate upright, convert and ``shape`` an image; see ``decode``."""
    library = require_pillow()
    _silence()
    try:
        with path.open("rb") as file, library.open(file, formats=_FORMATS) as image:
            width, height = image.size
            if width * height > _MOST_PIXELS:
                raise UnreadableImageError(
                    f"{width:,} x {height:,} pixels are more than {_MOST_PIXELS:,}: make it smaller"
                )
            with _ONE_AT_A_TIME if width * height > _MANY_PIXELS else nullcontext():
                return _pixels(image, channels, shape, background)
    except OSError as error:
        if error.filename is not None:  # else Pillow reports invalid content
            raise DataError(f"{path}: can't be read: {error.strerror or error}") from error
        raise UnreadableImageError(_line(error)) from error
    except UnreadableImageError:
        raise
    except Exception as error:  # decoders of damaged files raise nearly anything
        raise UnreadableImageError(_line(error)) from error


@cache
def _silence() -> None:
    """Silence Pillow's warnings about harmless peculiarities of files."""
    warnings.filterwarnings("ignore", module=r"PIL\.")


def _pixels(
    image: Any, channels: int, shape: Callable[[Any], Any], background: Rgb | None
) -> np.ndarray:
    from PIL import ImageOps

    is_deep = image.mode.startswith(("I", "F"))  # more than 8 bits; Pillow itself converts colors
    upright = ImageOps.exif_transpose(_eight_bits(image) if is_deep else image)
    opaque = _opaque(upright, background)
    pixels = np.array(shape(opaque.convert("L" if channels == 1 else "RGB")))
    return np.ascontiguousarray(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))


def _eight_bits(image: Any) -> Any:
    """Convert a gray image of 16 bits or floating point to 8 bits per pixel."""
    library = require_pillow()
    values = np.asarray(image)
    if image.mode == "F":
        scaled = np.rint(_from_0_to_1(values) * 255)
    elif image.mode == "I" and image.format not in ("PNG", "PPM"):
        raise UnreadableImageError("32 bits per pixel have no known white: convert it to 16")
    else:
        scaled = np.clip(values, 0, 65535) >> 8  # as Pillow converts colors
    is_inverted = getattr(image, "tag_v2", {}).get(262) == 0  # TIFF: WhiteIsZero
    pixels = scaled.astype(np.uint8)
    converted = library.fromarray(255 - pixels if is_inverted else pixels)
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        converted.putalpha(library.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    converted.info.update({key: value for key, value in image.info.items() if key == "exif"})
    return converted


def _from_0_to_1(values: np.ndarray) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):  # also true for NaN
        raise UnreadableImageError(
            f"floating-point pixels from {low:g} to {high:g}, expected 0 to 1: convert it "
            "to 8 or 16 bits"
        )
    return values


def _opaque(image: Any, background: Rgb | None) -> Any:
    """Put a background behind transparent pixels."""
    is_keyed = "transparency" in image.info
    if background is None:
        return image.convert("RGBA") if is_keyed else image
    palette = getattr(image, "palette", None)
    if not (is_keyed or image.mode[-1] in "Aa" or (palette and palette.mode.endswith("A"))):
        return image
    library = require_pillow()
    clear = image.info.get("transparency")
    if isinstance(clear, tuple) and max(clear) > 255:  # 16 bits, which were converted to 8
        image.info["transparency"] = tuple(value >> 8 for value in clear)
    ground = library.new("RGBA", image.size, background)
    return library.alpha_composite(ground, image.convert("RGBA"))


def _sized(image: Any, fitting: Fitting) -> Any:
    if fitting.height is None or fitting.width is None:
        return image
    width, height = image.size
    if fitting.fit == "crop":  # the largest part with the new proportions
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
    if type(error).__name__ == "UnidentifiedImageError":  # its message repeats the file's name
        return f"its content is not {KINDS}"
    return " ".join(str(error).split()) or type(error).__name__
