"""Base class of the formats of sentence pairs."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from seqtrans.config.trees import paths_in
from seqtrans.errors import DataError


@dataclass(frozen=True, kw_only=True)
class CorpusFiles(ABC):
    """Files of sentence pairs in one format, which is a dataclass derived from this.

    Its fields are keys of the recipe: ``kind``, a ``Literal`` of its own; files, as ``Path``; and
    whatever else decides which text is read. The cache and resumed runs identify a corpus by all
    fields, and files by their content.
    """

    @abstractmethod
    def pairs(self) -> Iterator[tuple[str, str]]:
        """Yield source and target sentences in the order of the file, without line ends.

        Raises:
            DataError: A file can't be read, or has another format.
        """

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that are read."""
        return tuple(path for _, path in paths_in(self))

    @property
    def names(self) -> tuple[str, ...]:
        """What errors call the corpus: its files."""
        return tuple(map(str, self.paths))


def at_least_one(pairs: Iterator[tuple[str, str]], name: str) -> Iterator[tuple[str, str]]:
    """Yield the same pairs.

    Raises:
        DataError: There are none; ``name`` is the file, for the message.
    """
    first = next(pairs, None)
    if first is None:
        raise DataError(f"{name}: has no lines; a corpus needs at least one")
    yield first
    yield from pairs
