"""A file of tab-separated columns."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from seqtrans.config.types import Positive
from seqtrans.errors import DataError
from seqtrans.runtime.files.text_files import open_lines
from seqtrans.translation.data.formats.base import CorpusFiles


@dataclass(frozen=True, kw_only=True)
class TsvFile(CorpusFiles):
    """Tab-separated columns without quoting or header; ``kind`` may be left out."""

    kind: Literal["tsv"] = "tsv"
    tsv: Path
    """File of tab-separated columns; no quoting, no header; plain, .gz, .bz2, .xz or .zst."""
    source_column: Positive = 1
    """Column that holds the source sentence, from 1."""
    target_column: Positive = 2
    """Column that holds the target sentence, from 1."""

    def __post_init__(self) -> None:
        if self.source_column == self.target_column:
            raise ValueError(
                f"source_column {self.source_column} and target_column {self.target_column} "
                "must differ"
            )

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Read the two columns of every line, which must have both."""
        source, target = self.source_column - 1, self.target_column - 1
        needed = max(source, target) + 1
        for number, line in enumerate(open_lines(self.tsv), start=1):
            columns = line.split("\t")
            if len(columns) < needed:
                raise DataError(
                    f"{self.tsv}:{number}: has {len(columns)} tab-separated columns, needs {needed}"
                )
            yield columns[source], columns[target]
