"""Arrays of different lengths, end to end in memory-mapped files."""

import zlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, SupportsIndex

import numpy as np
from jaxtyping import Int, Integer

from seqtrans.runtime.files.atomic_files import sync_file

_BLOCK = 1 << 20
_ELEMENTS = ("|u1", "<u2", "<u4")
_FILES = {"values": None, "offsets": "<i8", "lengths": "<i4"}


class Rows:
    """Arrays of different lengths.

    Args:
        values: The elements of all rows, end to end.
        offsets: Where each row starts in ``values``, and the end of the last.
        lengths: Elements of every row.
    """

    def __init__(
        self,
        values: Integer[np.ndarray, " values"],
        offsets: Int[np.ndarray, " offsets"],
        lengths: Int[np.ndarray, " N"],
    ) -> None:
        self.lengths = lengths
        self._values = values
        self._offsets = offsets

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: SupportsIndex) -> Integer[np.ndarray, " row"]:
        row = range(len(self))[index]
        return self._values[self._offsets[row] : self._offsets[row + 1]]


class Texts:
    """Lines of text.

    Args:
        rows: The UTF-8 bytes of every line.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: SupportsIndex) -> str:
        return self._rows[index].tobytes().decode()


class RowWriter:
    """Appends rows to the files that ``map_rows`` maps. A context manager: whole when left.

    Args:
        stem: Path of the files without their endings.
        element: Type of an element in numpy's notation: ``|u1``, ``<u2`` or ``<u4``.
    """

    def __init__(self, stem: Path, element: str) -> None:
        self.element = np.dtype(element)
        self.num_values = 0
        self._stem = stem
        self._files: dict[str, BinaryIO] = {}
        self._checksums = dict.fromkeys(_FILES, 0)

    def __enter__(self) -> "RowWriter":
        self._files = {kind: _path(self._stem, kind).open("xb") for kind in _FILES}
        self._write("offsets", np.zeros(1, dtype=np.int64))
        return self

    def append(
        self, values: bytes | Integer[np.ndarray, " values"], lengths: Int[np.ndarray, " rows"]
    ) -> None:
        """Add rows.

        Args:
            values: Their elements, end to end.
            lengths: Elements of each.
        """
        ends = self.num_values + np.cumsum(lengths, dtype=np.int64)
        self._write("values", np.frombuffer(values, "|u1") if isinstance(values, bytes) else values)
        self._write("offsets", ends)
        self._write("lengths", lengths)
        self.num_values += int(lengths.sum())

    def as_dict(self) -> dict[str, str | int]:
        """What ``map_rows`` needs to know, for JSON."""
        sums = {f"{kind}_crc32": number for kind, number in self._checksums.items()}
        return {"element": self.element.str, "values": self.num_values, **sums}

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for file in self._files.values():
            file.close()
        if error is None:
            for name in self._files:
                sync_file(_path(self._stem, name))

    def _write(self, kind: str, array: Integer[np.ndarray, " values"]) -> None:
        element = _FILES[kind] or self.element
        content = np.ascontiguousarray(array, dtype=element).data
        self._checksums[kind] = zlib.crc32(content, self._checksums[kind])
        self._files[kind].write(content)


def map_rows(stem: Path, num_rows: int, description: Mapping[str, str | int]) -> Rows:
    """Map the files of a ``RowWriter``, whose ``as_dict`` gave the description.

    Raises:
        OSError: A file is missing.
        ValueError: A file has another size than it should have.
    """
    element, num_values = str(description["element"]), int(description["values"])
    if element not in _ELEMENTS:
        raise ValueError(f"{stem}: elements can't be {element}")
    offsets = _map(_path(stem, "offsets"), "<i8", num_rows + 1)
    if offsets[-1] != num_values:
        raise ValueError(f"{stem}: rows end at {offsets[-1]}, not {num_values}")
    values = _map(_path(stem, "values"), element, num_values)
    return Rows(values, offsets, _map(_path(stem, "lengths"), "<i4", num_rows))


def check_rows(stem: Path, description: Mapping[str, str | int]) -> None:
    """Read the files of a ``RowWriter``, whose ``as_dict`` gave the description.

    Raises:
        OSError: A file can't be read.
        ValueError: A file has other bytes than were written.
    """
    for kind in _FILES:
        path, checksum = _path(stem, kind), 0
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                checksum = zlib.crc32(block, checksum)
        if checksum != description[f"{kind}_crc32"]:
            raise ValueError(f"{path} was altered: its checksum is not the recorded one")


def _path(stem: Path, kind: str) -> Path:
    return stem.with_name(f"{stem.name}.{kind}")


def _map(path: Path, element: str, count: int) -> Integer[np.ndarray, " count"]:
    size, expected = path.stat().st_size, count * np.dtype(element).itemsize
    if size != expected:
        raise ValueError(f"{path} has {size} bytes, not {expected}")
    if not count:
        return np.empty(0, dtype=element)  # an empty file can't be mapped
    # As a plain array: slices of a memmap object cost 20 times as much.
    return np.asarray(np.memmap(path, dtype=element, mode="r", shape=(count,)))
