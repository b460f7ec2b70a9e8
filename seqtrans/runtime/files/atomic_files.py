"""Files that appear whole or not at all."""

import fcntl
import hashlib
import os
import socket
import stat
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

PARTIAL = ".partial"
_LONGEST_STEM = 160  # bytes; with what stands around it a name has at most 255, as disks want
_FORGOTTEN = 86_400.0  # seconds after which what another host has left is nobody's


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace ``path`` by ``content``: written aside, flushed to the disk, renamed.

    A reader, or a run that is killed at any moment, sees the old file or the new one.
    """
    data = content.encode() if isinstance(content, str) else content
    with open_aside(path) as file:
        file.write(data)


@contextmanager
def open_aside(path: Path, *, sweeps: bool = True) -> Generator[BinaryIO]:
    """A file to write that takes the place of ``path`` at the end: flushed to the disk, renamed.

    After an error it is gone and ``path`` is as it was. Several may write ``path`` at once, each
    its own file aside: the last to end stays. What is replaced keeps its permissions, and a link
    goes on pointing to it.

    Args:
        path: Where it goes.
        sweeps: Delete what others left aside who were killed; see ``sweep``.
    """
    path = Path(os.path.realpath(path)) if path.is_symlink() else path
    if sweeps:
        sweep(path)
    try:
        with ExitStack() as held:
            partial, file = _open_new(path, held)
            held.callback(partial.unlink, missing_ok=True)
            yield file
            file.flush()
            _take_permissions(file, path)
            os.fsync(file.fileno())
            partial.replace(path)
    except OSError as error:
        if error.filename is None or str(error.filename).endswith(PARTIAL):
            error.filename = str(path)  # where the disk is full, a write does not say itself
            error.filename2 = None
        raise
    sync_folder(path.parent)


def sweep(path: Path) -> None:
    """Delete what processes left that were killed while they wrote ``path`` aside.

    Of another host, which may hold a lock that is not seen here, after a day.
    """
    with suppress(OSError):  # a folder that can't be listed
        for name in os.listdir(path.parent):  # noqa: PTH208 - as bytes are, also not UTF-8
            if is_aside(name, path):
                _delete_if_left(path.parent / name, path)


def is_aside(name: str, path: Path) -> bool:
    """Whether a file of this name, beside ``path``, is what becomes ``path``, or was to."""
    return name.startswith(f".{_stem(path)}.") and name.endswith(PARTIAL)


def _open_new(path: Path, held: ExitStack) -> tuple[Path, BinaryIO]:
    """A new file beside ``path``, locked: it is not taken for one that was left."""
    while True:
        partial = path.with_name(f".{_stem(path)}.{_host()}.{uuid4().hex[:12]}{PARTIAL}")
        file = held.enter_context(partial.open("xb"))
        with suppress(OSError):  # some file systems have no locks
            fcntl.flock(file, fcntl.LOCK_EX)
        if partial.exists():  # else it was taken for one before it was locked
            return partial, file


def _delete_if_left(partial: Path, path: Path) -> None:
    # Earlier versions wrote neither the host nor a number.
    is_ours = f".{_host()}." in partial.name or partial.name == f".{_stem(path)}{PARTIAL}"
    with suppress(OSError), partial.open("rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if is_ours or time.time() - os.fstat(file.fileno()).st_mtime > _FORGOTTEN:
            partial.unlink()


def _take_permissions(file: BinaryIO, path: Path) -> None:
    """Let a file have the permissions, and if it may the owner, of the one that it replaces."""
    try:
        old = path.stat()
    except FileNotFoundError:
        return
    with suppress(OSError):
        os.fchown(file.fileno(), old.st_uid, old.st_gid)
    with suppress(OSError):
        os.fchmod(file.fileno(), stat.S_IMODE(old.st_mode) & 0o777)


def _stem(path: Path) -> str:
    """The name of ``path``, cut where the name of a file beside it would be too long."""
    stem = path.name
    while len(os.fsencode(stem)) > _LONGEST_STEM:
        stem = stem[:-1]
    return stem


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` survive a power cut (a rename alone does not)."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder that may be written but not read
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Flush a file that somebody else wrote to the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
