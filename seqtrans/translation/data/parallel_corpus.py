"""Sentence pairs: reading them from files, and leaving out those that would not teach."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from annotated_types import Ge
from jaxtyping import Int, UInt8

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


@dataclass(frozen=True, kw_only=True)
class FilterConfig:
    """Which pairs are left out, by their lengths in tokens, without BOS and EOS."""

    min_tokens: Positive = 1
    """Fewest tokens either side may have."""
    max_tokens: Positive = 256
    """Most tokens either side may have."""
    max_ratio: Annotated[float, Ge(1.0)] | None = None
    """Most times one side may be longer than the other; nothing is dropped if null."""

    def __post_init__(self) -> None:
        if self.min_tokens > self.max_tokens:
            raise ValueError(
                f"min_tokens {self.min_tokens} must not exceed max_tokens {self.max_tokens}"
            )


class Cause(IntEnum):
    """Why a pair is left out; of several causes the first counts. ``KEPT`` is none."""

    KEPT = 0
    EMPTY_SOURCE = 1
    EMPTY_TARGET = 2
    SHORT_SOURCE = 3
    SHORT_TARGET = 4
    LONG_SOURCE = 5
    LONG_TARGET = 6
    RATIO = 7


_SAID = {
    Cause.EMPTY_SOURCE: "empty source",
    Cause.EMPTY_TARGET: "empty target",
    Cause.SHORT_SOURCE: "source too short",
    Cause.SHORT_TARGET: "target too short",
    Cause.LONG_SOURCE: "source too long",
    Cause.LONG_TARGET: "target too long",
    Cause.RATIO: "lengths too different",
}


def classify(
    source_lengths: Int[np.ndarray, " N"],
    target_lengths: Int[np.ndarray, " N"],
    config: FilterConfig,
) -> UInt8[np.ndarray, " N"]:
    """The ``Cause`` of every pair from its lengths in tokens without BOS and EOS."""
    shorter = np.minimum(source_lengths, target_lengths)
    longer = np.maximum(source_lengths, target_lengths)
    ratio = np.inf if config.max_ratio is None else config.max_ratio
    applies = {  # in the order in which causes count
        Cause.EMPTY_SOURCE: source_lengths == 0,
        Cause.EMPTY_TARGET: target_lengths == 0,
        Cause.SHORT_SOURCE: source_lengths < config.min_tokens,
        Cause.SHORT_TARGET: target_lengths < config.min_tokens,
        Cause.LONG_SOURCE: source_lengths > config.max_tokens,
        Cause.LONG_TARGET: target_lengths > config.max_tokens,
        Cause.RATIO: longer > np.maximum(shorter, 1) * ratio,
    }
    codes = [np.uint8(cause) for cause in applies]
    return np.select(list(applies.values()), codes, default=np.uint8(Cause.KEPT))


@dataclass(frozen=True)
class DropReport:
    """How many pairs were kept, and left out for what cause. Reports add up."""

    counts: Mapping[Cause, int]
    """Pairs of every cause; a cause that is absent had none."""

    @classmethod
    def of(cls, causes: UInt8[np.ndarray, " N"]) -> "DropReport":
        """Count what ``classify`` returned."""
        counts = np.bincount(causes, minlength=len(Cause))
        return cls({cause: int(counts[cause]) for cause in Cause})

    @classmethod
    def from_dict(cls, counts: Mapping[str, int]) -> "DropReport":
        """Undo ``as_dict``."""
        return cls({cause: counts.get(cause.name.lower(), 0) for cause in Cause})

    def as_dict(self) -> dict[str, int]:
        """Counts by the name of the cause in lower case, for JSON."""
        return {cause.name.lower(): self.counts.get(cause, 0) for cause in Cause}

    def __add__(self, other: "DropReport") -> "DropReport":
        both = (self.counts, other.counts)
        return DropReport({cause: sum(c.get(cause, 0) for c in both) for cause in Cause})

    @property
    def total(self) -> int:
        """Pairs seen."""
        return sum(self.counts.values())

    @property
    def kept(self) -> int:
        """Pairs not left out."""
        return self.counts.get(Cause.KEPT, 0)

    def __str__(self) -> str:
        """One line for people."""
        dropped = self.total - self.kept
        said = f"{self.total:,} pairs, {self.kept:,} kept, {dropped:,} dropped"
        causes = [f"{n:,} {_SAID[c]}" for c in _SAID if (n := self.counts.get(c, 0))]
        return f"{said}: {', '.join(causes)}" if causes else said
