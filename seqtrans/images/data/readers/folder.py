"""Read a folder of class folders with image files, each decoded once."""

import os
import unicodedata
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch

from seqtrans.errors import DataError
from seqtrans.images.data.dataset import ImageSet
from seqtrans.images.data.image_files import (
    KINDS,
    WHITE,
    Fitting,
    Rgb,
    UnreadableImageError,
    decode,
    require_pillow,
)
from seqtrans.images.data.readers.common import (
    Fault,
    Names,
    ReadReport,
    check_names,
    check_room,
    class_names,
)
from seqtrans.images.data.readers.listing import (
    Listing,
    entries,
    kind_of,
    list_images,
    printable,
    shown,
)
from seqtrans.runtime.cpu_count import usable_cores

_AT_ONCE = 64
"""Images that wait in memory to be put in their place."""
_THREADS = 8
_NAMED = 5
"""Classes whose left out files are told one by one."""


@dataclass(frozen=True, kw_only=True)
class FolderFiles(Fitting):
    """Image files in one folder for each class: PNG, JPEG, WebP, BMP, GIF, TIFF, PPM and PGM."""

    kind: Literal["folder"] = "folder"
    path: Path
    """Folder of class folders; images in folders within these are of the same class. Files of
    other kinds are left out, with a warning that names them; hidden ones are counted only."""
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
    """Collects tolerated mistakes in files, and raises errors for others."""

    def __init__(self, tolerated: Iterable[Fault]) -> None:
        self.noted: dict[Fault, list[Path]] = {fault: [] for fault in tolerated}

    def add(self, fault: Fault, path: Path, message: str) -> None:
        if fault not in self.noted:
            raise DataError(
                f"{printable(path)}: {message}; fix it, or skip it with skip: [{fault}]"
            )
        self.noted[fault].append(path)


def read_folder(
    files: FolderFiles, known: Names = None, background: Rgb | None = WHITE
) -> tuple[ImageSet, ReadReport]:
    """Decode all images of a folder, class by class and sorted by name.

    Args:
        files: Where they are, and what to do with them.
        known: Names of classes that ``files`` need not give: those of the training images.
        background: See ``read_images``.

    Raises:
        DataError: There are no images, they do not fit in memory, or one is at fault in a way
            that ``files.skip`` does not have.
        RecipeError: Pillow is not installed.
    """
    require_pillow()
    faults = _Faults(files.skip)
    contents = _find_contents(files, old=background is None)
    names, listed = _list_files(contents, class_names(files.classes or known), faults)
    with closing(_decoded(listed, files, background, faults)) as decoded:
        images, labels = _collect(files, decoded, len(listed), faults)
    image_set = ImageSet(images[: len(labels)], torch.tensor(labels), names)
    channels, height, width = images.shape[1:]
    size = channels, height, width
    report = ReadReport(
        size, len(labels), len(names), faults.noted, contents.hidden, contents.warnings()
    )
    return image_set, report


def _collect(
    files: FolderFiles,
    decoded: Iterator[tuple[_Listed, np.ndarray]],
    capacity: int,
    faults: _Faults,
) -> tuple[torch.Tensor, list[int]]:
    """Return a tensor for ``most`` images, filled with as many as there are labels, and labels."""
    first = next(decoded, None)
    if first is None:
        raise DataError(f"{files.path}: no usable image files; {KINDS} are read")
    size = first[1].shape
    check_room(files.path, capacity, size)
    images = torch.empty((capacity, *size), dtype=torch.uint8)
    labels: list[int] = []
    for (path, label), pixels in chain([first], decoded):
        if pixels.shape != size:
            faults.add("wrong_size", path, _differs(pixels.shape, size, first[0].path))
            continue
        images[len(labels)] = torch.from_numpy(pixels)
        labels.append(label)
    return images, labels


class _Contents(NamedTuple):
    """The content of a folder of class folders."""

    path: Path
    folders: Mapping[str, Path]
    held: Mapping[str, Listing]  # by class
    beside: Listing  # the files beside the class folders
    read: str  # the kinds of files that count as images

    @property
    def hidden(self) -> int:
        return self.beside.hidden + sum(listing.hidden for listing in self.held.values())

    def warnings(self) -> list[str]:
        """Return warnings about skipped files and about likely mistakes."""
        skipped = [(name, str(listing)) for name, listing in self.held.items() if listing.others]
        parts = [f"{name}: {what}" for name, what in skipped[:_NAMED]]
        if more := [listing for listing in self.held.values() if listing.others][_NAMED:]:
            count = sum(len(paths) for listing in more for paths in listing.others.values())
            parts.append(f"{len(more):,} more classes: {count:,} files")
        if self.beside.others:
            parts.append(f"beside the class folders: {self.beside}")
        left_out = f"skipped, as only {self.read} files are read: {'; '.join(parts)}"
        return [*([left_out] if parts else []), *self._doubts()]

    def _doubts(self) -> Iterator[str]:
        alike = dict[str, str]()
        for name in self.folders:
            other = alike.setdefault(_normalized(name), name)
            if other != name:
                yield (
                    f"the classes {other!r} and {name!r} differ only in case or Unicode form; they "
                    "are two classes"
                )
        inside = [
            {path.relative_to(self.folders[name]).parts[0] for path in listing.images}
            for name, listing in self.held.items()
        ]
        if len(inside) > 1 and inside[0] and all(names == inside[0] for names in inside):
            within = [self.folders[name] / part for name in self.held for part in inside[0]]
            if all(path.is_dir() for path in within):
                yield (
                    f"all class folders ({shown([*self.held], 3)}) have the same subfolders "
                    f"({shown(sorted(inside[0]), 3)}) and no other images: is "
                    f"{printable(self.path)} one level too high?"
                )


def _class_of(folder: Path) -> str:
    """Return the name of a folder, the same in every locale."""
    try:
        return os.fsencode(folder.name).decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{printable(folder)}: the name of this class folder is not UTF-8; rename it"
        ) from error


def _find_contents(files: FolderFiles, *, old: bool) -> _Contents:
    """Find all that lies in a folder of class folders."""
    beside = Listing()
    folders = dict[str, Path]()
    for entry in entries(files.path, beside):
        if not entry.is_dir() or os.path.realpath(entry) == os.path.realpath(files.path):
            beside.leave_out(kind_of(entry), entry)
            continue
        folders[_class_of(entry)] = entry
    if not folders:
        raise DataError(f"{files.path}: no class folders; put the images of each class into one")
    held = {name: list_images(folder, old=old) for name, folder in folders.items()}
    read = "PNG or JPEG (as when this run began)" if old else KINDS
    return _Contents(files.path, folders, held, beside, read)


def _list_files(
    contents: _Contents, names: tuple[str, ...] | None, faults: _Faults
) -> tuple[tuple[str, ...], list[_Listed]]:
    """Return the classes and all their files."""
    held = {name: listing.images for name, listing in contents.held.items()}
    for name in [name for name, paths in held.items() if not paths]:
        listing = contents.held[name]
        message = "class folder without images" + (
            f", but with {listing}" if listing.others else ""
        )
        faults.add("empty_class", contents.folders[name], f"{message}; {KINDS} files are read")
        del held[name]
    if names is None:
        names = tuple(held)
    for name in [name for name in held if name not in names]:
        for path in held.pop(name):
            faults.add("unknown_class", path, _unknown(name, names))
    return names, [
        _Listed(path, label) for label, name in enumerate(names) for path in held.get(name, ())
    ]


def _unknown(name: str, names: Sequence[str]) -> str:
    near = [known for known in names if _normalized(known) == _normalized(name)]
    hint = f"; it differs from {near[0]!r} only in case or Unicode form" if near else ""
    return f"'{name}' is none of the {len(names)} classes{hint}"


def _normalized(name: str) -> str:
    """Normalize a name: casefolded, in Unicode's form NFKC."""
    return unicodedata.normalize("NFKC", name).casefold()


def _decoded(
    listed: Sequence[_Listed], fitting: Fitting, background: Rgb | None, faults: _Faults
) -> Generator[tuple[_Listed, np.ndarray]]:
    """Decode files in threads and yield them in order, without those that are corrupt."""

    def attempt(item: _Listed) -> np.ndarray | UnreadableImageError:
        try:
            return decode(item.path, fitting, background)
        except UnreadableImageError as error:
            return error

    with ThreadPoolExecutor(min(_THREADS, usable_cores())) as pool:
        for start in range(0, len(listed), _AT_ONCE):
            block = listed[start : start + _AT_ONCE]
            for item, result in zip(block, pool.map(attempt, block), strict=True):
                if isinstance(result, np.ndarray):
                    yield item, result
                else:
                    faults.add("corrupt", item.path, f"not a readable image: {result}")


def _differs(shape: Sequence[int], size: Sequence[int], first: Path) -> str:
    return (
        f"is {shape[1]} x {shape[2]} pixels (height x width), but {first} is "
        f"{size[1]} x {size[2]}: set height and width to resize all"
    )
