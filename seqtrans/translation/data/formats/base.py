"""What every format of files of sentence pairs has."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from seqtrans.config.trees import paths_in
from seqtrans.errors import DataError


@dataclass(frozen=True, kw_only=True)
class CorpusFiles(ABC):
    """Where sentence pairs are and how to read them; a format is a dataclass derived from it.

    Its fields are the keys that a recipe may have: ``kind``, a ``Literal`` of its own; files, as
    ``Path``; and what else says which text is read. The cache and resumed runs know a corpus by
    all of them, files by their content.
    """

    @abstractmethod
    def pairs(self) -> Iterator[tuple[str, str]]:
        """Return source and target sentences in the order of the file, without line ends.

        Raises:
            DataError: A file can't be read, or is not of this format.
        """

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that are read."""
        return tuple(path for _, path in paths_in(self))


def at_least_one(pairs: Iterator[tuple[str, str]], name: str) -> Iterator[tuple[str, str]]:
    """Return the same pairs.

    Raises:
        DataError: There are none; the message calls their file ``name``.
    """
    first = next(pairs, None)
    if first is None:
        raise DataError(f"{name}: has no lines; a corpus needs at least one")
    yield first
    yield from pairs
