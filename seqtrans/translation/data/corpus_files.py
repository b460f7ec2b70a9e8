"""Files of an encoded corpus: written once, checked, and memory-mapped by all processes."""

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Int, Integer

from seqtrans.errors import DataError
from seqtrans.runtime.files.atomic_files import sync_file, sync_folder, write_atomically
from seqtrans.translation.data.encoded_corpus import EncodedCorpus, Rows, Texts
from seqtrans.translation.data.length_filter import Cause, DropReport, FilterConfig, classify
from seqtrans.translation.tokenization.segmenters import Segmenters

FORMAT = 2
"""Version of the files; files of another version are not opened."""

_META = "meta.json"
_CHUNK_PAIRS = 4096
_CHUNK_CHARACTERS = 1 << 21
_BLOCK = 1 << 20
_ELEMENTS = ("|u1", "<u2", "<u4")
_FILES = {"values": None, "offsets": "<i8", "lengths": "<i4"}


def encode_corpus(
    pairs: Iterable[tuple[str, str]],
    segmenters: Segmenters,
    limits: FilterConfig | None,
    *,
    keep_text: bool,
    folder: Path,
) -> DropReport:
    """Write sentence pairs as token ids, in one pass and bounded memory.

    Args:
        pairs: Source and target sentences.
        segmenters: Text to ids.
        limits: Which pairs to leave out; None keeps all, empty ones too.
        keep_text: Whether to store the text too, so that it can be segmented again.
        folder: An existing, empty folder, for ``open_corpus``.

    Raises:
        DataError: Raised by ``pairs``.
        OSError: The files can't be written.
    """
    report = DropReport({})
    with ExitStack() as stack:
        elements = ["<u2" if len(s.pieces) <= 1 << 16 else "<u4" for s in segmenters]
        ids = {"source": elements[0], "target": elements[1]}
        texts = {"source_text": "|u1", "target_text": "|u1"} if keep_text else {}
        writers = {
            name: stack.enter_context(RowWriter(folder / name, element))
            for name, element in (ids | texts).items()
        }
        for chunk in _chunks(pairs):
            report += _append(chunk, segmenters, limits, writers)
    meta = {
        "format": FORMAT,
        "pairs": report.kept,
        "rows": {name: writer.as_dict() for name, writer in writers.items()},
        "report": report.as_dict(),
    }
    write_atomically(folder / _META, json.dumps(meta, indent=1) + "\n")
    sync_folder(folder)
    return report


def open_corpus(folder: Path) -> EncodedCorpus:
    """Map the files that ``encode_corpus`` wrote into memory.

    Raises:
        DataError: A file is missing, or has another format or size.
    """
    try:
        meta: dict[str, Any] = json.loads((folder / _META).read_bytes())
        if meta["format"] != FORMAT:
            raise ValueError(f"format {meta['format']}, not {FORMAT}")
        rows = {name: map_rows(folder / name, meta["pairs"], d) for name, d in meta["rows"].items()}
        texts = {name: Texts(rows[name]) for name in ("source_text", "target_text") if name in rows}
        return EncodedCorpus(
            source=rows["source"],
            target=rows["target"],
            source_text=texts.get("source_text"),
            target_text=texts.get("target_text"),
            report=DropReport.from_dict(meta["report"]),
        )
    except FileNotFoundError as error:
        raise DataError(f"{error.filename}: missing from an encoded corpus") from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{folder}: damaged encoded corpus: {error!r}; delete it") from error


def check_corpus(folder: Path) -> None:
    """Compare the files that ``encode_corpus`` wrote with their checksums.

    Raises:
        DataError: A file is missing or was altered.
    """
    open_corpus(folder)
    try:
        for name, description in json.loads((folder / _META).read_bytes())["rows"].items():
            check_rows(folder / name, description)
    except (OSError, ValueError, LookupError) as error:
        raise DataError(f"{folder}: damaged encoded corpus: {error}; delete it") from error


def _chunks(pairs: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    """Yield lists of pairs, bounded in number and characters; one pair alone may be longer."""
    chunk: list[tuple[str, str]] = []
    characters = 0
    for pair in pairs:
        chunk.append(pair)
        characters += len(pair[0]) + len(pair[1])
        if len(chunk) >= _CHUNK_PAIRS or characters >= _CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def _append(
    chunk: Sequence[tuple[str, str]],
    segmenters: Segmenters,
    limits: FilterConfig | None,
    writers: "dict[str, RowWriter]",
) -> DropReport:
    """Encode pairs, and append those that the limits keep."""
    sides = [[pair[side] for pair in chunk] for side in (0, 1)]
    ids = [segmenter.encode(lines) for segmenter, lines in zip(segmenters, sides, strict=True)]
    lengths = [np.fromiter(map(len, rows), np.int32, count=len(chunk)) for rows in ids]
    causes = (
        np.zeros(len(chunk), dtype=np.uint8)
        if limits is None
        else classify(lengths[0], lengths[1], limits)
    )
    kept = np.flatnonzero(causes == Cause.KEPT)
    for side, name in enumerate(("source", "target")):
        flat = chain.from_iterable(ids[side][i] for i in kept)
        kept_lengths = lengths[side][kept]
        values = np.fromiter(flat, np.uint32, count=int(kept_lengths.sum()))
        writers[name].append(values, kept_lengths)
        if text := writers.get(f"{name}_text"):
            lines = [sides[side][i].encode() for i in kept]
            sizes = np.fromiter(map(len, lines), np.int32, count=len(lines))
            text.append(b"".join(lines), sizes)
    return DropReport.of(causes)


class RowWriter:
    """Writes rows to the files that ``map_rows`` maps. A context manager, which closes them.

    Args:
        stem: Path of the files without extension.
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
        """Write rows.

        Args:
            values: Elements of the rows, end to end.
            lengths: Number of elements of each.
        """
        ends = self.num_values + np.cumsum(lengths, dtype=np.int64)
        self._write("values", np.frombuffer(values, "|u1") if isinstance(values, bytes) else values)
        self._write("offsets", ends)
        self._write("lengths", lengths)
        self.num_values += int(lengths.sum())

    def as_dict(self) -> dict[str, str | int]:
        """Return the description for ``map_rows``, for JSON."""
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
    """Map the files of a ``RowWriter``; ``description`` is its ``as_dict``.

    Raises:
        OSError: A file is missing.
        ValueError: A file has a wrong size.
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
    """Compare the files of a ``RowWriter`` with the checksums of its ``as_dict``.

    Raises:
        OSError: A file can't be read.
        ValueError: A file was altered.
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
