"""What a bulk job translates, and how. Equal work gives equal bytes."""

import hashlib
import json
import stat
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from seqtrans.errors import CheckpointError, DataError
from seqtrans.runtime.device import Precision
from seqtrans.runtime.files.file_types import COMPRESSED
from seqtrans.training.checkpoints.format import STATE
from seqtrans.training.checkpoints.run_directory import RunDirectory
from seqtrans.translation.data.lexicon import FILE as LEXICON
from seqtrans.translation.inference.translator import Format


@dataclass(frozen=True)
class Source:
    """A file to translate, with its size and time when the job began."""

    path: str
    size: int
    modified_ns: int


@dataclass(frozen=True)
class Work:
    """All that the output depends on, and nothing else.

    Attributes:
        run: The run directory.
        checkpoint: Folder of the checkpoint.
        seal: See ``seal_of``.
        decoding: Fields of a ``SearchConfig``.
        precision: Precision of the model.
        output_format: Text or JSON lines.
        shard_lines: Lines of a shard.
        sources: The files, in the order given.
        details: Details of translations in JSON lines.
    """

    run: str
    checkpoint: str
    seal: str
    decoding: dict[str, Any]
    precision: Precision
    output_format: Format
    shard_lines: int
    sources: tuple[Source, ...]
    details: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """Names of the output files: those of the sources, without endings of compression."""
        ending = ".jsonl" if self.output_format == "jsonl" else ""
        paths = [Path(source.path) for source in self.sources]
        return [(p.stem if p.suffix.lower() in COMPRESSED else p.name) + ending for p in paths]


@dataclass(frozen=True)
class Shard:
    """Lines of one source that are translated together.

    Attributes:
        number: Number of the shard, from 0, across all sources.
        source: Number of the source, from 0.
        first: Number of the first line in the source, from 1.
        lines: Number of lines.
    """

    number: int
    source: int
    first: int
    lines: int


def describe(
    *,
    run: Path,
    checkpoint: Path,
    decoding: Mapping[str, Any],
    precision: Precision,
    output_format: Format,
    shard_lines: int,
    sources: Sequence[Path],
    details: Sequence[str] = (),
) -> Work:
    """Return the work of a command line.

    Raises:
        DataError: A source can't be read, or two outputs would have the same name.
        CheckpointError: The checkpoint is gone.
    """
    work = Work(
        run=str(run.absolute()),
        checkpoint=str(checkpoint.absolute()),
        seal=seal_of(run, checkpoint, decoding),
        decoding=dict(decoding),
        precision=precision,
        output_format=output_format,
        shard_lines=shard_lines,
        sources=tuple(source_of(path.absolute()) for path in sources),
        details=tuple(details),
    )
    for i, name in enumerate(work.names):
        if name in work.names[:i]:
            first, second = sources[work.names.index(name)], sources[i]
            raise DataError(
                f"{first} and {second} would both become {name}: translate them separately"
            )
    return work


def source_of(path: Path) -> Source:
    """Return a file as it is now.

    Raises:
        DataError: It is missing, can't be read, or is not a regular file.
    """
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror or error}") from error
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path}: not a regular file; a bulk job reads neither folders nor pipes")
    return Source(str(path), status.st_size, status.st_mtime_ns)


def seal_of(run: Path, checkpoint: Path, decoding: Mapping[str, Any]) -> str:
    """Return a checksum that changes with what a search reads of a run.

    It is that of the checkpoint's ``state.yaml``, which holds those of its other files, and of the
    lexicon if the search has shortlists.

    Args:
        run: The run directory.
        checkpoint: Folder of the checkpoint.
        decoding: Fields of a ``SearchConfig``.

    Raises:
        CheckpointError: A file can't be read.
    """
    files = [checkpoint / STATE]
    if decoding.get("shortlist"):
        files.append(RunDirectory(run).vocabulary / LEXICON)
    digest = hashlib.sha256()
    for file in files:
        try:
            digest.update(file.read_bytes())
        except OSError as error:
            raise CheckpointError(f"{file}: can't be read: {error.strerror or error}") from error
    return digest.hexdigest()


def as_json(work: Work, lines: Sequence[int]) -> str:
    """Return work, and the number of lines of every source, as JSON."""
    return json.dumps({**asdict(work), "lines": list(lines)}, indent=1)


def _completed(decoding: dict[str, Any]) -> dict[str, Any]:
    """Add to stored decoding the settings that earlier versions did not have.

    With n-best lists it is left as it is: their second-best translations may differ.
    """
    is_beam = decoding.get("kind", "beam") == "beam"
    decoding = {"mbr": None, "shortlist": 0, **({"mbr_scale": 0.2} if is_beam else {}), **decoding}
    if "kind" in decoding:
        return decoding
    later = {"no_repeat_ngram": 0, "no_repeat_words": 0, "no_loops": False}
    return {"kind": "beam", **(later if decoding.get("n_best", 1) == 1 else {}), **decoding}


def from_json(text: str) -> tuple[Work, list[int]]:
    """Undo ``as_json``.

    Raises:
        ValueError: The text is something else.
    """
    try:
        stored = json.loads(text)
        lines = [int(count) for count in stored.pop("lines")]
        sources = tuple(Source(**source) for source in stored.pop("sources"))
        stored["decoding"] = _completed(stored["decoding"])
        stored["details"] = tuple(stored.get("details", ()))
        work = Work(**stored, sources=sources)
    except (TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    if len(lines) != len(sources) or work.shard_lines < 1:
        raise ValueError("wrong number of lines or sources")
    return work, lines
