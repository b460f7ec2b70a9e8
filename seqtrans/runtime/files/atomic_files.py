"""Atomic writes: a file appears complete or not at all."""

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
_LONGEST_STEM = 160  # bytes; with prefix and suffix the name stays below the usual limit, 255
_FORGOTTEN = 86_400.0  # seconds after which a partial file of another host is deleted


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace ``path`` by ``content``: write to a temporary file, flush it to the disk, rename it.

    A reader, or a run that is killed at any moment, sees the old file or the new one.
    """
    data = content.encode() if isinstance(content, str) else content
    with open_aside(path) as file:
        file.write(data)


@contextmanager
def open_aside(path: Path, *, sweeps: bool = True) -> Generator[BinaryIO]:
    """Open a temporary file that replaces ``path`` on exit: flushed to the disk, then renamed.

    After an error the temporary file is deleted and ``path`` is unchanged. Several processes may
    write ``path`` at once, each to its own temporary file: the last one to finish wins. The
    permissions of the replaced file are kept, and a symbolic link to it stays valid.

    Args:
        path: The file to replace.
        sweeps: Delete temporary files left by processes that were killed; see ``sweep``.
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
            error.filename = str(path)  # a write to a full disk does not name the file
            error.filename2 = None
        raise
    sync_folder(path.parent)


def sweep(path: Path) -> None:
    """Delete temporary files left by processes that were killed while they wrote ``path``.

    Those of another host, whose lock may be invisible here, are deleted after a day.
    """
    with suppress(OSError):  # a folder that can't be listed
        for name in os.listdir(path.parent):  # noqa: PTH208 - names may not be UTF-8
            if is_aside(name, path):
                _delete_if_left(path.parent / name, path)


def is_aside(name: str, path: Path) -> bool:
    """Return whether ``name`` is that of a temporary file of ``path``."""
    return name.startswith(f".{_stem(path)}.") and name.endswith(PARTIAL)


def _open_new(path: Path, held: ExitStack) -> tuple[Path, BinaryIO]:
    """Create a locked temporary file beside ``path``; the lock keeps ``sweep`` from it."""
    while True:
        partial = path.with_name(f".{_stem(path)}.{_host()}.{uuid4().hex[:12]}{PARTIAL}")
        file = held.enter_context(partial.open("xb"))
        with suppress(OSError):  # some file systems have no locks
            fcntl.flock(file, fcntl.LOCK_EX)
        if partial.exists():  # else another process swept it before it was locked
            return partial, file


def _delete_if_left(partial: Path, path: Path) -> None:
    # Earlier versions put neither the host nor a number into the name.
    is_ours = f".{_host()}." in partial.name or partial.name == f".{_stem(path)}{PARTIAL}"
    with suppress(OSError), partial.open("rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if is_ours or time.time() - os.fstat(file.fileno()).st_mtime > _FORGOTTEN:
            partial.unlink()


def _take_permissions(file: BinaryIO, path: Path) -> None:
    """Copy the permissions and, if allowed, the owner of the file to be replaced."""
    try:
        old = path.stat()
    except FileNotFoundError:
        return
    with suppress(OSError):
        os.fchown(file.fileno(), old.st_uid, old.st_gid)
    with suppress(OSError):
        os.fchmod(file.fileno(), stat.S_IMODE(old.st_mode) & 0o777)


def _stem(path: Path) -> str:
    """Return the name of ``path``, shortened if a temporary name would be too long."""
    stem = path.name
    while len(os.fsencode(stem)) > _LONGEST_STEM:
        stem = stem[:-1]
    return stem


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk; a rename alone does not survive a power cut."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder that may be written but not read
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Flush a file to the disk that other code has written."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
