"""Parts shared by all readers of images: files, memory checks, names of classes, the report."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Literal, TypeAlias

from seqtrans.errors import DataError
from seqtrans.images.data.readers.listing import printable
from seqtrans.runtime.files.text_files import open_lines
from seqtrans.runtime.memory import available_memory
from seqtrans.tensor_types import Int, Tensor

Fault: TypeAlias = Literal["corrupt", "wrong_size", "unknown_class", "empty_class"]
"""Why a file of a folder can't be used: it is no image; it has another size than the first one;
its class is none of those known. Or a class has no images."""

Names: TypeAlias = tuple[str, ...] | Path | None
"""Names of the classes in the order of their numbers, or a file with one on each line."""

_MOST_CLASSES = 1 << 16
"""More are a mistake: labels that are something else, or a file that is no list of names."""
_SAID: Mapping[Fault, str] = {
    "corrupt": "corrupt",
    "wrong_size": "of another size",
    "unknown_class": "of an unknown class",
    "empty_class": "classes without images",
}


@dataclass(frozen=True)
class ReadReport:
    """How many images were read, and what was left out.

    Attributes:
        size: Channels, height and width.
        kept: Images read.
        classes: How many classes have a name.
        skipped: Files or folders left out, by cause.
        hidden: Files passed over because they are hidden or the system's.
        warnings: What else the user should know of what was read and what was not, a line each.
    """

    size: tuple[int, int, int]
    kept: int
    classes: int
    skipped: Mapping[Fault, Sequence[Path]] = field(default_factory=dict)
    hidden: int = 0
    warnings: Sequence[str] = ()

    def __str__(self) -> str:
        """Describe the images in one readable line."""
        channels, height, width = self.size
        text = f"{self.kept:,} images of {self.classes:,} classes, {height} x {width} pixels, "
        text += f"{channels} channel{'s' if channels > 1 else ''}"
        text += f"; {self.hidden:,} hidden files ignored" if self.hidden else ""
        skipped = [
            f"{len(paths):,} {_SAID[fault]} (the first is {printable(paths[0])})"
            for fault, paths in self.skipped.items()
            if paths
        ]
        return f"{text}; skipped: {', '.join(skipped)}" if skipped else text


@contextmanager
def opened(path: Path) -> Generator[BinaryIO]:
    """Open a file to read; errors of the system within this context become a ``DataError``.

    Raises:
        DataError: The file can't be opened or read.
    """
    try:
        with path.open("rb") as file:
            yield file
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise DataError(f"{path}: is a folder, not a file") from error
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror or error}") from error


def check_room(path: Path, count: int, size: tuple[int, int, int]) -> None:
    """Check that free memory can hold ``count`` images of ``size``, one byte for each value.

    Raises:
        DataError: It does not.
    """
    channels, height, width = size
    needed, free = count * channels * height * width, available_memory(shared=False)
    if needed > free:
        raise DataError(
            f"{path}: {count:,} images of {channels} x {height} x {width} take "
            f"{needed / 1e9:,.1f} GB of memory and {free / 1e9:,.1f} GB are free; make the images "
            "smaller, or fewer"
        )


def check_names(names: Names) -> None:
    """Check names of classes in a recipe.

    Raises:
        ValueError: There are none, or one is blank or given twice.
    """
    if isinstance(names, tuple) and (problem := _problem_of(names)):
        raise ValueError(f"classes: {problem}")


def class_names(names: Names) -> tuple[str, ...] | None:
    """Return the names of classes, read if they are in a file; None if there are none.

    Raises:
        DataError: The file can't be read, or its names are no good.
    """
    if not isinstance(names, Path):
        return names
    lines = (line.strip() for line in open_lines(names))
    names_in_file = tuple(islice((line for line in lines if line), _MOST_CLASSES + 1))
    if problem := _problem_of(names_in_file):
        raise DataError(f"{names}: {problem}")
    return names_in_file


def check_labels(path: Path, labels: Int[Tensor, " N"], count: int) -> None:
    """Check that there are labels and that all lie below ``count``.

    Args:
        path: File that has them.
        labels: Classes.
        count: How many classes there are.

    Raises:
        DataError: A label does not, or there are none.
    """
    if not len(labels):
        raise DataError(f"{path}: has no images")
    unknown = ((labels < 0) | (labels >= count)).nonzero()
    if len(unknown):
        position = int(unknown[0])
        raise DataError(
            f"{path}: label {position + 1} is {int(labels[position])}, but "
            f"classes go from 0 to {count - 1:,}"
        )


def numbered(
    path: Path, labels: Int[Tensor, " N"], names: tuple[str, ...] | None
) -> tuple[str, ...]:
    """Return the names of classes that a file stores as numbers; without names, the numbers.

    Raises:
        DataError: There are no labels, or one has no name.
    """
    count = len(names) if names else _MOST_CLASSES
    check_labels(path, labels, count)
    return names or tuple(map(str, range(int(labels.max()) + 1)))


def _problem_of(names: Sequence[str]) -> str | None:
    if not names:
        return "there is no name; give one for each class"
    if len(names) > _MOST_CLASSES:
        return f"there are more than {_MOST_CLASSES:,} names"
    seen: set[str] = set()
    for number, name in enumerate(names):
        if not name.strip():
            return f"name {number + 1} is blank"
        if name in seen:
            return f"{name!r} is given twice"
        seen.add(name)
    return None
