"""Lock files: one writer at a time, also after a writer was killed."""

import fcntl
import json
import os
import socket
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from seqtrans.errors import SeqtransError

LEASE = 120.0
"""Seconds to wait for a lock of the same job on another host: an NFS server takes 90 to notice
that a host is gone."""
_WRITING = 2.0  # seconds that a new holder has to write its name into the file
_PAUSE = 0.05


class LockedError(SeqtransError):
    """Another process holds the lock; the message says which, and on which host."""


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock, as recorded in the lock file."""

    host: str
    pid: int
    job: str = ""
    """Name shared by processes that replace each other; may be empty."""


@contextmanager
def locked(path: Path, what: str, *, job: str = "") -> Generator[None]:
    """Hold the lock of the file ``path``, which is deleted when the lock is released.

    The lock itself is the kernel's (``flock``): it is released when its holder is killed, and it
    also works between containers. The content of the file only says who the holder is.

    Hosts that share a folder see each other's locks if the file system supports it, as NFS does.
    Some file systems keep locks local to a host, and some have no ``flock``. Therefore a file that
    names another host, or any process if there is no ``flock``, counts as a lock until someone
    deletes it, or until the same ``job`` starts again. On such a file system two processes that
    start in the same instant can both get the lock.

    Args:
        path: A file in an existing folder, which several hosts may share.
        what: Name of the locked thing, for the message.
        job: For instance the id under which a cluster restarts failed jobs.

    Raises:
        LockedError: Another process holds it.
        OSError: The file can't be written.
    """
    current = Holder(socket.gethostname(), os.getpid(), job)
    began = time.monotonic()
    with ExitStack() as stack:
        while (file := _take(path, current, what, time.monotonic() - began)) is None:
            time.sleep(_PAUSE)
        stack.enter_context(file)
        try:
            yield
        finally:
            with suppress(OSError):  # the folder may have been deleted
                if _is_at(path, file):
                    path.unlink()


def _take(path: Path, current: Holder, what: str, waited: float) -> TextIO | None:
    """Return the locked file with the holder written into it; None if a retry may succeed."""
    with ExitStack() as stack:
        file = stack.enter_context(path.open("a+", encoding="utf-8", errors="replace"))
        is_locked = _flock(file)
        file.seek(0)
        text = file.read()
        holder = _parse(text)
        is_elsewhere = holder is not None and holder.host != current.host
        is_same_job = holder is not None and current.job == holder.job != ""
        if is_locked is False:
            if waited < (LEASE if is_elsewhere and is_same_job else _WRITING * _is_cut(text)):
                return None
            raise LockedError(f"{_complaint(path, holder, what)}; wait for it, or stop it")
        if not _is_at(path, file):  # the last holder has just deleted it
            return None
        is_free = _is_cut(text) if holder is None else is_locked and not is_elsewhere
        if not (is_free or is_same_job):
            raise LockedError(f"{_complaint(path, holder, what)}; if that is gone, delete {path}")
        file.truncate(0)
        file.write(json.dumps(asdict(current)))
        file.flush()
        stack.pop_all()
        return file


def _is_cut(text: str) -> bool:
    """Return whether text is an incomplete record: its writer is not done yet, or has died."""
    begins = '{"host": "'
    return _parse(text) is None and (text.startswith(begins) or begins.startswith(text))


def _flock(file: TextIO) -> bool | None:
    """Lock a file; return False if another process holds it, None without ``flock``."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_at(path: Path, file: TextIO) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _complaint(path: Path, holder: Holder | None, what: str) -> str:
    if holder is None:
        return f"{what} is locked by {path}, which names no process"
    return f"{what} is in use by process {holder.pid} on {holder.host}"


def _parse(text: str) -> Holder | None:
    """Return the holder of a lock; None if the text names no process."""
    try:
        record = json.loads(text)
        holder = Holder(record["host"], record["pid"], record.get("job", ""))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    is_ours = [type(value) for value in asdict(holder).values()] == [str, int, str]
    return holder if is_ours and holder.pid > 0 else None
