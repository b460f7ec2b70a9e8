"""Sentence pairs read from files."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from seqtrans.config.types import Positive
from seqtrans.errors import DataError
from seqtrans.runtime.files.text_files import open_lines


@dataclass(frozen=True, kw_only=True)
class CorpusFiles:
    """Where sentence pairs are: two files of aligned lines, or one of tab-separated columns."""

    source: Path | None = None
    """File of source sentences, one a line; plain, .gz, .bz2, .xz or .zst."""
    target: Path | None = None
    """File of target sentences, line by line the translations of ``source``."""
    tsv: Path | None = None
    """File of tab-separated columns instead of ``source`` and ``target``; no quoting, no header."""
    source_column: Positive = 1
    """Column of ``tsv`` that holds the source sentence, from 1."""
    target_column: Positive = 2
    """Column of ``tsv`` that holds the target sentence, from 1."""

    def __post_init__(self) -> None:
        if self.tsv is not None:
            if self.source is not None or self.target is not None:
                raise ValueError("give either source and target, or tsv, not both")
            if self.source_column == self.target_column:
                raise ValueError(
                    f"source_column {self.source_column} and target_column {self.target_column} "
                    "must differ"
                )
        elif self.source is None or self.target is None:
            missing = "source" if self.source is None else "target"
            raise ValueError(f"{missing} is missing: give source and target, or tsv")
        elif (self.source_column, self.target_column) != (1, 2):
            raise ValueError("source_column and target_column need tsv")

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that are read, source first."""
        return tuple(path for path in (self.source, self.target, self.tsv) if path is not None)


class NamedLines(NamedTuple):
    """Lines of text, and what messages call the place they come from."""

    name: str
    lines: Iterator[str]


def read_pairs(*corpora: CorpusFiles) -> Iterator[tuple[str, str]]:
    """Source and target sentences of one corpus after the other, in file order.

    Raises:
        DataError: A file can't be read (see ``open_lines``) or has no lines, two files have
            different numbers of lines, or a row lacks a column.
    """
    for files in corpora:
        if files.tsv:
            yield from _some(_read_columns(files), str(files.tsv))
        else:
            yield from align(*(NamedLines(str(path), open_lines(path)) for path in files.paths))


def align(source: NamedLines, target: NamedLines) -> Iterator[tuple[str, str]]:
    """Pairs of lines.

    Raises:
        DataError: There are none, or not as many on both sides.
    """
    return _some(_aligned(source, target), source.name)


def _some(pairs: Iterator[tuple[str, str]], name: str) -> Iterator[tuple[str, str]]:
    first = next(pairs, None)
    if first is None:
        raise DataError(f"{name}: has no lines; a corpus needs at least one")
    yield first
    yield from pairs


def _aligned(source: NamedLines, target: NamedLines) -> Iterator[tuple[str, str]]:
    for line, (one, other) in enumerate(zip_longest(source.lines, target.lines), start=1):
        if one is None or other is None:
            longer = source if other is None else target
            rest = line + sum(1 for _ in longer.lines)
            counts = (rest, line - 1) if longer is source else (line - 1, rest)
            raise DataError(
                f"{source.name} has {counts[0]} lines but {target.name} has {counts[1]}: "
                f"{longer.name}:{line} has no translation; line must translate line"
            )
        yield one, other


def _read_columns(files: CorpusFiles) -> Iterator[tuple[str, str]]:
    path = files.paths[0]
    source, target = files.source_column - 1, files.target_column - 1
    needed = max(source, target) + 1
    for number, line in enumerate(open_lines(path), start=1):
        columns = line.split("\t")
        if len(columns) < needed:
            raise DataError(
                f"{path}:{number}: has {len(columns)} tab-separated columns, needs {needed}"
            )
        yield columns[source], columns[target]
