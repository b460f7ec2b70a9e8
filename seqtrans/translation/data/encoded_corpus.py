"""Sentence pairs as token ids in memory-mapped files: written once, shared by all processes."""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
from jaxtyping import Int

from seqtrans.errors import DataError
from seqtrans.runtime.files.atomic_files import sync_folder, write_atomically
from seqtrans.translation.data.batch import Ids
from seqtrans.translation.data.length_filter import Cause, DropReport, FilterConfig, classify
from seqtrans.translation.data.ragged_arrays import Rows, RowWriter, Texts, check_rows, map_rows
from seqtrans.translation.tokenization.segmenters import Segmenters

FORMAT = 2
"""Version of what ``encode_corpus`` writes; another version is another corpus."""

_META = "meta.json"
_CHUNK_PAIRS = 4096
_CHUNK_CHARACTERS = 1 << 21


@dataclass(frozen=True, eq=False)
class EncodedCorpus:
    """Sentence pairs as token ids, without BOS and EOS, and as text where that was kept."""

    source: Rows
    target: Rows
    source_text: Texts | None
    """What the source ids were made from; None unless it was kept."""
    target_text: Texts | None
    """What the target ids were made from; None unless it was kept."""
    report: DropReport
    """How many pairs were left out when the corpus was made, and why."""

    def __len__(self) -> int:
        return len(self.source)

    @property
    def source_lengths(self) -> Int[np.ndarray, " N"]:
        """Tokens of every source sentence."""
        return self.source.lengths

    @property
    def target_lengths(self) -> Int[np.ndarray, " N"]:
        """Tokens of every target sentence."""
        return self.target.lengths

    def pairs(self, indices: Iterable[SupportsIndex]) -> list[tuple[Ids, Ids]]:
        """Source and target ids of some pairs."""
        return [(self.source[i], self.target[i]) for i in indices]


def encode_corpus(
    pairs: Iterable[tuple[str, str]],
    segmenters: Segmenters,
    limits: FilterConfig | None,
    *,
    keep_text: bool,
    folder: Path,
) -> DropReport:
    """Write sentence pairs as token ids, in one pass and at a memory that does not grow.

    Args:
        pairs: Source and target sentences.
        segmenters: Text to ids.
        limits: Which pairs to leave out; None keeps all, empty ones too.
        keep_text: Whether to store the text as well, so that it can be segmented anew.
        folder: An existing, empty folder; ``open_corpus`` takes it once this has returned.

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
    """Map the files that ``encode_corpus`` wrote; nothing is read before it is asked for.

    Raises:
        DataError: There is no corpus of this format, or a part of it is missing.
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
        raise DataError(f"{error.filename}: no such file; an encoded corpus has it") from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{folder}: not a whole encoded corpus: {error!r}; delete it") from error


def check_corpus(folder: Path) -> None:
    """Read all that ``encode_corpus`` wrote, once.

    Raises:
        DataError: A part of it is missing, or not as it was written.
    """
    open_corpus(folder)
    try:
        for name, description in json.loads((folder / _META).read_bytes())["rows"].items():
            check_rows(folder / name, description)
    except (OSError, ValueError, LookupError) as error:
        raise DataError(f"{folder}: not a whole encoded corpus: {error}; delete it") from error


def corpus_of(pairs: Sequence[tuple[Ids, Ids]]) -> EncodedCorpus:
    """A corpus in memory, of pairs that are token ids already."""
    rows: list[Rows] = []
    for side in (0, 1):
        lengths = np.fromiter((len(pair[side]) for pair in pairs), np.int32, count=len(pairs))
        values = chain.from_iterable(pair[side] for pair in pairs)
        ids = np.fromiter(values, np.uint32, count=int(lengths.sum()))
        rows.append(Rows(ids, np.append(0, np.cumsum(lengths, dtype=np.int64)), lengths))
    return EncodedCorpus(rows[0], rows[1], None, None, DropReport({Cause.KEPT: len(pairs)}))


def _chunks(pairs: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    """Lists of pairs, of bounded number and text; one pair may be longer than that."""
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
    writers: dict[str, RowWriter],
) -> DropReport:
    """Encode pairs, leave some out, append the others."""
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
