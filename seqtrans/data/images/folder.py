"""A folder of class folders with PNG and JPEG files, decoded once."""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch

from seqtrans.cores import usable_cores
from seqtrans.data.images.image_set import ImageSet
from seqtrans.data.images.pillow import Fitting, UnreadableImageError, decode, require_pillow
from seqtrans.data.images.sources import (
    Fault,
    Names,
    ReadReport,
    check_names,
    check_room,
    class_names,
)
from seqtrans.errors import DataError

_SUFFIXES = {".png", ".jpg", ".jpeg"}
_AT_ONCE = 64
"""Images that wait in memory to be put in their place."""
_THREADS = 8


@dataclass(frozen=True, kw_only=True)
class FolderFiles(Fitting):
    """PNG and JPEG files in one folder for each class."""

    kind: Literal["folder"] = "folder"
    path: Path
    """Folder of class folders; other files in them, hidden ones and folders within are ignored."""
    skip: tuple[Fault, ...] = ()
    """Mistakes to leave out and count instead of stopping: files that are ``corrupt``, of a
    ``wrong_size`` where none is given, or of an ``unknown_class``; an ``empty_class``."""
    classes: tuple[str, ...] | Path | None = None
    """Names of the class folders in the order of their numbers, or a file with one on each line;
    the folders there are, sorted, if null."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_names(self.classes)


class _Listed(NamedTuple):
    """A file and its class."""

    path: Path
    label: int


class _Faults:
    """Mistakes: noted where the recipe says so, else raised."""

    def __init__(self, tolerated: Iterable[Fault]) -> None:
        self.noted: dict[Fault, list[Path]] = {fault: [] for fault in tolerated}

    def meet(self, fault: Fault, path: Path, message: str) -> None:
        if fault not in self.noted:
            raise DataError(f"{path}: {message}; mend it, or have it left out with skip: [{fault}]")
        self.noted[fault].append(path)


def read_folder(files: FolderFiles, known: Names = None) -> tuple[ImageSet, ReadReport]:
    """Decode all images of a folder, class by class and sorted by name.

    Args:
        files: Where they are, and what to do with them.
        known: Names of classes that ``files`` need not give: those of the training images.

    Raises:
        DataError: There are no images, they do not fit in memory, or one is at fault in a way
            that ``files.skip`` does not have.
        RecipeError: Pillow is not installed.
    """
    require_pillow()
    faults = _Faults(files.skip)
    names, listed = _list(files, class_names(files.classes or known), faults)
    decoded = _decoded(listed, files, faults)
    first = next(decoded, None)
    if first is None:
        raise DataError(f"{files.path}: has no PNG or JPEG file that can be used")
    size = first[1].shape
    check_room(files.path, len(listed), size)
    images = torch.empty((len(listed), *size), dtype=torch.uint8)
    labels: list[int] = []
    for (path, label), pixels in chain([first], decoded):
        if pixels.shape != size:
            faults.meet("wrong_size", path, _differs(pixels.shape, size, first[0].path))
            continue
        images[len(labels)] = torch.from_numpy(pixels)
        labels.append(label)
    image_set = ImageSet(images[: len(labels)], torch.tensor(labels), names)
    return image_set, ReadReport(size, len(labels), len(names), faults.noted)


def _list(
    files: FolderFiles, names: tuple[str, ...] | None, faults: _Faults
) -> tuple[tuple[str, ...], list[_Listed]]:
    """The classes, and the files of all of them."""
    folders = {_class_of(entry): entry for entry in _entries(files.path) if entry.is_dir()}
    if not folders:
        raise DataError(f"{files.path}: has no class folders; images belong in one for each class")
    held = {name: _images_in(folder) for name, folder in folders.items()}
    for name in [name for name, paths in held.items() if not paths]:
        faults.meet("empty_class", folders[name], "a class folder without a PNG or JPEG file")
        del held[name]
    if names is None:
        names = tuple(held)
    for name in [name for name in held if name not in names]:
        for path in held.pop(name):
            faults.meet("unknown_class", path, f"'{name}' is none of the {len(names)} classes")
    return names, [
        _Listed(path, label) for label, name in enumerate(names) for path in held.get(name, ())
    ]


def _class_of(folder: Path) -> str:
    """The name of a folder, the same in every locale."""
    try:
        return os.fsencode(folder.name).decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{folder}: its name, that of a class, is not UTF-8: rename it") from error


def _images_in(folder: Path) -> list[Path]:
    return [
        path for path in _entries(folder) if path.suffix.lower() in _SUFFIXES and path.is_file()
    ]


def _entries(folder: Path) -> list[Path]:
    """What a folder holds, sorted; what is hidden is left out."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except FileNotFoundError as error:
        raise DataError(f"{folder}: no such folder") from error
    except NotADirectoryError as error:
        raise DataError(f"{folder}: is a file, not a folder of class folders") from error
    except OSError as error:
        raise DataError(f"{folder}: can't be read: {error.strerror or error}") from error


def _decoded(
    listed: Sequence[_Listed], fitting: Fitting, faults: _Faults
) -> Iterator[tuple[_Listed, np.ndarray]]:
    """Files in their order and their pixels, without those that are corrupt; in threads."""

    def attempt(item: _Listed) -> np.ndarray | UnreadableImageError:
        try:
            return decode(item.path, fitting)
        except UnreadableImageError as error:
            return error

    with ThreadPoolExecutor(min(_THREADS, usable_cores())) as pool:
        for start in range(0, len(listed), _AT_ONCE):
            block = listed[start : start + _AT_ONCE]
            for item, result in zip(block, pool.map(attempt, block), strict=True):
                if isinstance(result, np.ndarray):
                    yield item, result
                else:
                    faults.meet("corrupt", item.path, f"no image that can be read: {result}")


def _differs(shape: Sequence[int], size: Sequence[int], first: Path) -> str:
    return (
        f"is {shape[1]} x {shape[2]} pixels (height x width), but {first} is "
        f"{size[1]} x {size[2]}: give height and width to make all alike"
    )
