"""One writer at a time, also after the last one was killed."""

import fcntl
import json
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from seqtrans.errors import SeqtransError


class LockedError(SeqtransError):
    """Another process writes there; the message says which, and on which host."""


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock."""

    host: str
    pid: int
    started: str
    """When it started, as its host counts: process ids are used again. Empty where unknown."""
    job: str = ""
    """Whatever several processes that replace each other have in common; empty: nothing."""

    @property
    def is_gone(self) -> bool:
        """Whether this host can tell that the process has ended."""
        if self.host != socket.gethostname():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except (PermissionError, OverflowError):  # somebody else's; or what is no process id
            return False
        return self.started != "" and self.started != start_of(self.pid)


@contextmanager
def locked(path: Path, what: str, *, job: str = "") -> Generator[None]:
    """Within, this process alone holds the lock that the file ``path`` stands for.

    The lock of a process that has ended on this host is taken over, and so is one of the same
    ``job``, wherever its process was. Of other hosts nothing is known, so theirs stand.

    Args:
        path: A file in a folder that exists, also one that several hosts share.
        what: What is locked, for the message.
        job: For instance the id under which a cluster restarts what has failed.

    Raises:
        LockedError: Another process holds it.
        OSError: The file can't be written.
    """
    own = Holder(socket.gethostname(), os.getpid(), start_of(os.getpid()), job)
    with _alone_on_this_host(path.parent):
        _take(path, own, what)
    try:
        yield
    finally:
        with suppress(OSError):  # the folder may have gone, and the lock with it
            if _read(path) == own:
                path.unlink()


def _take(path: Path, own: Holder, what: str) -> None:
    """Put the file there, whole and only if there is none; of hosts that try one succeeds."""
    written = path.with_name(f".{path.name}.{own.host}.{own.pid}")
    try:
        with written.open("w", encoding="utf-8") as file:
            json.dump(asdict(own), file)
            file.flush()
            os.fsync(file.fileno())
        if path.exists() and _may_go(_read(path), own):
            path.unlink()
        os.link(written, path)
    except FileExistsError as error:
        raise LockedError(_complaint(path, _read(path), what)) from error
    finally:
        written.unlink(missing_ok=True)


def _may_go(holder: Holder | None, own: Holder) -> bool:
    return holder is not None and (holder.is_gone or (own.job != "" and holder.job == own.job))


def _complaint(path: Path, holder: Holder | None, what: str) -> str:
    if holder is None:
        return f"{what} is locked by {path}, which names no process; delete it if nothing runs"
    who = f"process {holder.pid} on {holder.host}"
    if holder.host == socket.gethostname():
        return f"{what} is in use by {who}; wait for it, or stop it"
    return f"{what} is in use by {who}; if that is gone, delete {path}"


def _read(path: Path) -> Holder | None:
    """Who holds a lock; None where the file is not one of ours, or is gone."""
    try:
        stored = Holder(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    is_ours = [type(value) for value in asdict(stored).values()] == [str, int, str, str]
    return stored if is_ours and stored.pid > 0 else None


def start_of(pid: int) -> str:
    """Boot and clock tick at which a process started; empty where the system does not tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return f"{boot} {stat.rpartition(')')[2].split()[19]}"  # the name in brackets holds anything


@contextmanager
def _alone_on_this_host(folder: Path) -> Generator[None]:
    """Keeps two from taking over one lock, where the second would delete that of the first."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems lock no folders
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
