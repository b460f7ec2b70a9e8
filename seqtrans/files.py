"""Files that appear whole or not at all."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace ``path`` by ``content``: written aside, flushed to the disk, renamed.

    A reader, or a run that is killed at any moment, sees the old file or the new one.
    """
    data = content.encode() if isinstance(content, str) else content
    with open_aside(path) as file:
        file.write(data)


@contextmanager
def open_aside(path: Path, *, own: bool = False) -> Generator[BinaryIO]:
    """A file to write that takes the place of ``path`` at the end: flushed to the disk, renamed.

    After an error it is gone and ``path`` is as it was.

    Args:
        path: Where it goes.
        own: Write aside under a name that no other has: several may write ``path`` at once, and
            the last one stays. Whoever is killed leaves a file that none replaces.
    """
    partial = path.with_name(f".{path.name}.{uuid4().hex}.partial") if own else aside(path)
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # where the disk is full, a write does not say itself
        raise
    sync_folder(path.parent)


def aside(path: Path) -> Path:
    """Where what becomes ``path`` is written first."""
    return path.with_name(f".{path.name}.partial")


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` survive a power cut (a rename alone does not)."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Flush a file that somebody else wrote to the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
