"""One writer at a time, also after the last one was killed."""

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
"""Seconds to wait for a lock of the same job on another host: a server of NFS takes 90 to notice
that a host is gone."""
_WRITING = 2.0  # seconds in which one that has just locked a file says who it is
_PAUSE = 0.05


class LockedError(SeqtransError):
    """Another process writes there; the message says which, and on which host."""


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock, as the file tells others."""

    host: str
    pid: int
    job: str = ""
    """Name that processes share which replace each other; empty: none."""


@contextmanager
def locked(path: Path, what: str, *, job: str = "") -> Generator[None]:
    """Hold the lock that the file ``path`` stands for; the file goes when the lock does.

    The kernel knows who holds it (``flock``): the lock of a process that was killed is free, and
    one of a process in another container is not. The file only says who that is.

    Hosts that share a folder see each other's locks where the file system tells them, as NFS does.
    Some file systems tell one host alone, and some have no ``flock``. Therefore a file that names
    another host, or any process where there is no ``flock``, stands for a lock until someone
    deletes it, or until the same ``job`` comes back. On such a file system two processes that
    start in the same instant can both get the lock.

    Args:
        path: A file in a folder that exists, also one that several hosts share.
        what: What is locked, for the message.
        job: For instance the id under which a cluster restarts what has failed.

    Raises:
        LockedError: Another process holds it.
        OSError: The file can't be written.
    """
    own = Holder(socket.gethostname(), os.getpid(), job)
    began = time.monotonic()
    with ExitStack() as stack:
        while (file := _take(path, own, what, time.monotonic() - began)) is None:
            time.sleep(_PAUSE)
        stack.enter_context(file)
        try:
            yield
        finally:
            with suppress(OSError):  # the folder may have gone, and the lock with it
                if _is_at(path, file):
                    path.unlink()


def _take(path: Path, own: Holder, what: str, waited: float) -> TextIO | None:
    """Return the file, locked and signed; None where another attempt may succeed."""
    with ExitStack() as stack:
        file = stack.enter_context(path.open("a+", encoding="utf-8", errors="replace"))
        is_locked = _flock(file)
        file.seek(0)
        text = file.read()
        holder = _parse(text)
        is_elsewhere = holder is not None and holder.host != own.host
        is_same_job = holder is not None and own.job == holder.job != ""
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
        file.write(json.dumps(asdict(own)))
        file.flush()
        stack.pop_all()
        return file


def _is_cut(text: str) -> bool:
    """Whether it is the beginning of what a holder writes: it is about to, or its host has died."""
    begins = '{"host": "'
    return _parse(text) is None and (text.startswith(begins) or begins.startswith(text))


def _flock(file: TextIO) -> bool | None:
    """Lock a file; False where another process has it, None where the file system can't."""
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
    """Return who holds a lock; None where the text names no process."""
    try:
        found = json.loads(text)
        holder = Holder(found["host"], found["pid"], found.get("job", ""))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    is_ours = [type(value) for value in asdict(holder).values()] == [str, int, str]
    return holder if is_ours and holder.pid > 0 else None
