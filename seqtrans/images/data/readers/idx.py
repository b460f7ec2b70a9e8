"""Read idx files, the format of MNIST, plain or gzipped."""

import gzip
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from seqtrans.errors import DataError
from seqtrans.images.data.dataset import ImageSet
from seqtrans.images.data.readers.common import (
    Names,
    check_names,
    check_room,
    class_names,
    numbered,
    opened,
)
from seqtrans.tensor_types import Tensor, UInt8

_MAGIC = b"\x00\x00\x08"  # of unsigned bytes; the number of dimensions comes next


@dataclass(frozen=True, kw_only=True)
class IdxFiles:
    """Grey images in a file, and their labels in another."""

    kind: Literal["idx"] = "idx"
    images: Path
    """File of images, plain or gzipped, such as ``train-images-idx3-ubyte.gz``."""
    labels: Path
    """File of as many labels, such as ``train-labels-idx1-ubyte.gz``."""
    classes: tuple[str, ...] | Path | None = None
    """Names of the classes, or a file with one on each line; their numbers if null."""

    def __post_init__(self) -> None:
        check_names(self.classes)


def read_idx(files: IdxFiles, known: Names = None) -> ImageSet:
    """Read images and their labels; ``known`` are names of classes that ``files`` need not give.

    Raises:
        DataError: A file can't be read or is not what it should be, or the two do not fit.
    """
    images = _read(files.images, dimensions=3)
    labels = _read(files.labels, dimensions=1)
    if len(images) != len(labels):
        raise DataError(
            f"{files.images} has {len(images):,} images but {files.labels} has {len(labels):,} "
            "labels; each image needs one"
        )
    numbers = labels.long()
    classes = numbered(files.labels, numbers, class_names(files.classes or known))
    return ImageSet(images[:, None], numbers, classes)


def _read(path: Path, dimensions: int) -> UInt8[Tensor, "..."]:
    with opened(path) as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        try:
            if packed:
                with gzip.GzipFile(fileobj=file) as content:
                    return _parse(path, content.read, dimensions)
            return _parse(path, file.read, dimensions)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"{path}: truncated or damaged gzip file: {error}") from error


def _parse(path: Path, read: Callable[[int], bytes], dimensions: int) -> UInt8[Tensor, "..."]:
    header = read(4 + 4 * dimensions)
    wanted = _MAGIC + bytes([dimensions])
    if header[:4] != wanted:
        what = "images" if dimensions == 3 else "labels"
        raise DataError(
            f"{path}: not an idx file of {what}: starts with {header[:4].hex() or 'nothing'}, "
            f"expected {wanted.hex()}"
        )
    if len(header) < 4 + 4 * dimensions:
        raise DataError(f"{path}: truncated header")
    shape = struct.unpack(f">{dimensions}I", header[4:])
    if dimensions == 3 and not (shape[1] and shape[2]):
        raise DataError(f"{path}: has images of {shape[1]} x {shape[2]} pixels")
    check_room(path, shape[0], (1, *shape[1:]) if dimensions == 3 else (1, 1, 1))
    try:
        content = np.empty(prod(shape), dtype=np.uint8)
    except MemoryError as error:
        raise DataError(
            f"{path}: not enough memory for {' x '.join(map(str, shape))} values"
        ) from error
    num_read = _fill(content, read)
    is_short = num_read < len(content)
    if is_short or read(1):
        problem, actual = ("truncated", f"{num_read:,}") if is_short else ("too long", "more")
        raise DataError(
            f"{path}: {problem}: expected {len(content):,} bytes after the header, for "
            f"{' x '.join(map(str, shape))} values, but it has {actual}"
        )
    return torch.from_numpy(content.reshape(shape))


def _fill(content: np.ndarray, read: Callable[[int], bytes]) -> int:
    """Read until the array is full or the file ends; return the number of bytes read."""
    view, num_read = content.data, 0
    while num_read < len(content):
        block = read(min(1 << 20, len(content) - num_read))
        if not block:
            break
        view[num_read : num_read + len(block)] = block
        num_read += len(block)
    return num_read
