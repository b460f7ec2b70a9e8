"""CIFAR-10 and CIFAR-100, in the binary version and in that for Python."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from annotated_types import Len

from seqtrans.errors import DataError
from seqtrans.images.data.dataset import ImageSet
from seqtrans.images.data.readers.cifar_pickle import read_dictionary
from seqtrans.images.data.readers.common import (
    Names,
    check_labels,
    check_names,
    check_room,
    class_names,
    opened,
)
from seqtrans.tensor_types import Int, Tensor, UInt8

_PIXELS = 3 * 32 * 32
Labels = Literal["cifar10", "fine", "coarse"]


class _Version(NamedTuple):
    """How a set of labels is stored."""

    labels: int  # bytes of labels before the pixels of an image
    position: int  # of the wanted one among them
    key: str  # of the labels in a dictionary
    classes: int


_VERSIONS: dict[Labels, _Version] = {
    "cifar10": _Version(1, 0, "labels", 10),
    "coarse": _Version(2, 0, "coarse_labels", 20),
    "fine": _Version(2, 1, "fine_labels", 100),
}


@dataclass(frozen=True, kw_only=True)
class CifarFiles:
    """Batches of CIFAR, which are color images of 32 x 32 pixels."""

    kind: Literal["cifar"] = "cifar"
    files: Annotated[tuple[Path, ...], Len(1)]
    """Batches, one after the other; binary or for Python, which the content tells."""
    labels: Labels = "cifar10"
    """The 10 classes of CIFAR-10, or of CIFAR-100 the 100 fine or the 20 coarse ones."""
    classes: tuple[str, ...] | Path | None = None
    """Names of the classes, or a file with one on each line (``batches.meta.txt``,
    ``fine_label_names.txt``); their numbers if null."""

    def __post_init__(self) -> None:
        check_names(self.classes)


def read_cifar(files: CifarFiles, known: Names = None) -> ImageSet:
    """Read images and their labels; ``known`` are names of classes that ``files`` need not give.

    Nothing that a file names is imported or run.

    Raises:
        DataError: A file can't be read, is no such batch, or has an unknown label.
    """
    version = _VERSIONS[files.labels]
    names = class_names(files.classes or known) or tuple(map(str, range(version.classes)))
    if len(names) != version.classes:
        raise DataError(
            f"{files.files[0]}: has {version.classes} classes, but {len(names)} names are given"
        )
    batches = [_read(path, version) for path in files.files]
    for path, (_, labels) in zip(files.files, batches, strict=True):
        check_labels(path, labels, version.classes)
    images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return ImageSet(images, labels, names)


def _read(path: Path, version: _Version) -> tuple[UInt8[Tensor, "N 3 32 32"], Int[Tensor, " N"]]:
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        check_room(path, 3 * -(-size // _PIXELS), (3, 32, 32))  # read, taken apart and joined
        content = file.read()
    if content[:1] == b"\x80":  # of a pickle; as a label it would be 128
        return _from_dictionary(path, content, version)
    row = version.labels + _PIXELS
    if not content or len(content) % row:
        raise DataError(
            f"{path}: {len(content):,} bytes are not a multiple of {row}, the size of an image "
            f"with {version.labels} label{'s'[: version.labels - 1]}: truncated, or wrong labels"
        )
    rows = np.frombuffer(content, dtype=np.uint8).reshape(-1, row)
    pixels = np.array(rows[:, version.labels :])
    labels = rows[:, version.position].astype(np.int64)
    return torch.from_numpy(pixels).view(-1, 3, 32, 32), torch.from_numpy(labels)


def _from_dictionary(
    path: Path, content: bytes, version: _Version
) -> tuple[UInt8[Tensor, "N 3 32 32"], Int[Tensor, " N"]]:
    try:
        batch = read_dictionary(content)
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: not a CIFAR batch for Python, or damaged: {reason}") from error
    pixels, labels = batch.get("data"), batch.get(version.key)
    if not isinstance(pixels, np.ndarray) or pixels.shape[1:] != (_PIXELS,):
        raise DataError(f"{path}: not a CIFAR batch: no 'data' with {_PIXELS} bytes per image")
    if not isinstance(labels, list) or not _are_labels(labels):
        raise DataError(f"{path}: no list of integers '{version.key}': check the key labels")
    if len(pixels) != len(labels):
        raise DataError(f"{path}: damaged: {len(pixels):,} images but {len(labels):,} labels")
    images = torch.from_numpy(pixels.copy()).view(-1, 3, 32, 32)
    return images, torch.tensor(labels, dtype=torch.int64)


def _are_labels(labels: list[Any]) -> bool:
    return all(type(label) is int and -1 < label < 256 for label in labels)
