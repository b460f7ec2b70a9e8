"""Two files of aligned lines."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Literal, NamedTuple

from seqtrans.errors import DataError
from seqtrans.runtime.files.text_files import open_lines
from seqtrans.translation.data.formats.base import CorpusFiles, at_least_one


@dataclass(frozen=True, kw_only=True)
class TextFiles(CorpusFiles):
    """Two files of aligned lines; ``kind`` may be left out."""

    kind: Literal["text"] = "text"
    source: Path
    """File of source sentences, one a line; plain, .gz, .bz2, .xz or .zst."""
    target: Path
    """File of target sentences, line by line the translations of ``source``."""

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Read both files; they must have as many lines."""
        return _aligned(*(NamedLines(str(path), open_lines(path)) for path in self.paths))


class NamedLines(NamedTuple):
    """Lines of text, and the name of their file for messages."""

    name: str
    lines: Iterator[str]


def align(source: NamedLines, target: NamedLines) -> Iterator[tuple[str, str]]:
    """Yield pairs of lines.

    Raises:
        DataError: There are none, or one side has more lines.
    """
    return at_least_one(_aligned(source, target), source.name)


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
