"""Read images and labels from two arrays in a NumPy ``.npz`` file."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

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
from seqtrans.tensor_types import Int, Tensor, UInt8

_MOST_CHANNELS = 4
"""What has more is no usual image."""


@dataclass(frozen=True, kw_only=True)
class NpzFiles:
    """Images and labels in one file of NumPy."""

    kind: Literal["npz"] = "npz"
    path: Path
    """The file; arrays that need unpickling are refused."""
    images: str = "images"
    """Name of the uint8 array of images: (N, height, width), or with ``channels``."""
    labels: str = "labels"
    """Name of the array of labels: whole numbers, (N) or (N, 1)."""
    channels: Literal["last", "first"] = "last"
    """Place of the channels of an array of four axes: (N, height, width, channels), or after N."""
    classes: tuple[str, ...] | Path | None = None
    """Names of the classes, or a file with one on each line; their numbers if null."""

    def __post_init__(self) -> None:
        check_names(self.classes)


def read_npz(files: NpzFiles, known: Names = None) -> ImageSet:
    """Read images and their labels; ``known`` are names of classes that ``files`` need not give.

    Raises:
        DataError: The file can't be read or lacks an array, an array is not what it should be, or
            the two do not fit.
    """
    images, labels = _arrays(files.path, files.images, files.labels)
    where = f"{files.path}: {files.images}"
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or not images.size:
        raise DataError(
            f"{where} has type {images.dtype} and shape {images.shape}, expected uint8 of shape "
            "(N, height, width) or with channels; convert values from 0 to 1 by "
            "(255 * images).round().astype('uint8')"
        )
    if labels.dtype.kind not in "iu" or labels.size != len(labels):
        raise DataError(
            f"{files.path}: {files.labels} has type {labels.dtype} and shape {labels.shape}, "
            "expected one integer for each image"
        )
    if len(images) != len(labels):
        raise DataError(
            f"{where} has {len(images):,} images but {files.labels} has {len(labels):,} labels; "
            "each image needs one"
        )
    _check_channels(where, images.shape, files.channels)
    pixels = _channels_first(images, files.channels)
    numbers: Int[Tensor, " N"] = torch.from_numpy(labels.reshape(-1).astype(np.int64))
    classes = numbered(files.path, numbers, class_names(files.classes or known))
    return ImageSet(pixels, numbers, classes)


def _check_channels(where: str, shape: Sequence[int], channels: Literal["last", "first"]) -> None:
    """Refuse an array whose shape looks like the other order of channels.

    Raises:
        DataError: The configured axis is too long for channels, and the other one is not.
    """
    if len(shape) != 4:
        return
    given, other = (shape[3], shape[1]) if channels == "last" else (shape[1], shape[3])
    if given > _MOST_CHANNELS >= other:
        raise DataError(
            f"{where} has shape {tuple(shape)}, so channels: {channels} means {given} channels: "
            f"set channels: {'first' if channels == 'last' else 'last'}"
        )


def _channels_first(
    images: np.ndarray, channels: Literal["last", "first"]
) -> UInt8[Tensor, "N channels height width"]:
    if images.ndim == 3:
        images = images[:, None]
    elif channels == "last":
        images = images.transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(images))


def _arrays(path: Path, *names: str) -> list[np.ndarray]:
    with opened(path) as file:
        try:
            # Not np.load: it takes a file that is no archive for a single array, or for a pickle.
            with np.lib.npyio.NpzFile(file, allow_pickle=False) as archive:
                missing = [name for name in names if name not in archive.files]
                if missing:
                    raise DataError(
                        f"{path}: has no array '{missing[0]}'; it has {', '.join(archive.files)}"
                    )
                check_room(path, sum(map(_size_in(archive), names)), (1, 1, 1))
                arrays: list[object] = [archive[name] for name in names]
        except DataError:
            raise
        except Exception as error:  # NumPy reads headers as Python, and raises nearly anything
            raise DataError(f"{path}: not an .npz file, or damaged: {_line(error)}") from error
    read = [array for array in arrays if isinstance(array, np.ndarray)]
    if len(read) < len(names):  # a member that is not an array is returned as bytes
        raise DataError(f"{path}: damaged: {' or '.join(names)} is not an array")
    return read


def _size_in(archive: Any) -> Callable[[str], int]:
    """Return a function from a member's name to its unpacked size in bytes, also a read limit."""
    stored = {info.filename.removesuffix(".npy"): info for info in archive.zip.infolist()}
    return lambda name: stored[name].file_size


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
