"""One writer at a time, also after the last one was killed."""

import fcntl
import json
import os
import socket
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

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
    container: str = ""
    """Whose numbers of processes ``pid`` is one of: containers on a host can share its name, but
    number their processes by themselves. Empty where unknown."""

    def is_gone(self, lock: Path) -> bool:
        """Whether this host can tell that the process, which holds ``lock``, has ended."""
        if self.host != socket.gethostname():
            return False
        if self.is_elsewhere:
            return _is_let_go(lock)
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except (PermissionError, OverflowError):  # somebody else's; or what is no process id
            return False
        return self.started != "" and self.started != start_of(self.pid)

    @property
    def is_elsewhere(self) -> bool:
        """Whether its number means nothing here: on another host, or in another container."""
        return self.host != socket.gethostname() or self.container not in ("", _container())


@contextmanager
def locked(path: Path, what: str, *, job: str = "") -> Generator[None]:
    """Within, this process alone holds the lock that the file ``path`` stands for.

    The lock of a process that has ended on this host is taken over, and so is one of the same
    ``job`` from another host or container, whether its process is there or not. Of other hosts
    nothing is known, so theirs stand.

    Args:
        path: A file in a folder that exists, also one that several hosts share.
        what: What is locked, for the message.
        job: For instance the id under which a cluster restarts what has failed.

    Raises:
        LockedError: Another process holds it.
        OSError: The file can't be written.
    """
    pid = os.getpid()
    own = Holder(socket.gethostname(), pid, start_of(pid), job, _container())
    with ExitStack() as held:
        with _alone_on_this_host(path.parent):
            _sweep(path, own)
            _take(path, own, what, held)
        try:
            yield
        finally:
            with suppress(OSError):  # the folder may have gone, and the lock with it
                if _read(path) == own:
                    path.unlink()


def _take(path: Path, own: Holder, what: str, held: ExitStack) -> None:
    """Put the file there, whole and only if there is none; of hosts that try one succeeds."""
    written = path.with_name(f".{path.name}.{own.host}.{own.pid}")
    try:
        file = held.enter_context(written.open("w", encoding="utf-8"))
        _hold(file)
        json.dump(asdict(own), file)
        file.flush()
        os.fsync(file.fileno())
        if path.exists() and _may_go(_read(path), path, own):
            path.unlink()
        os.link(written, path)
    except FileExistsError as error:
        raise LockedError(_complaint(path, _read(path), what)) from error
    finally:
        written.unlink(missing_ok=True)


def _sweep(path: Path, own: Holder) -> None:
    """Delete what processes of this host left that were killed while they took the lock.

    It can be the lock itself by another name, which must not be written to.
    """
    mine = f".{path.name}.{own.host}."
    for left in path.parent.glob(".*"):
        pid = left.name.removeprefix(mine)
        if not left.name.startswith(mine) or not pid.isdecimal():
            continue
        if int(pid) == own.pid or Holder(own.host, int(pid), "").is_gone(left):
            left.unlink(missing_ok=True)


def _may_go(holder: Holder | None, path: Path, own: Holder) -> bool:
    if holder is None:
        return False
    is_same_job = own.job != "" and holder.job == own.job
    return holder.is_gone(path) or (is_same_job and holder.is_elsewhere)


def _complaint(path: Path, holder: Holder | None, what: str) -> str:
    if holder is None:
        return f"{what} is locked by {path}, which names no process; delete it if nothing runs"
    who = f"process {holder.pid} on {holder.host}"
    if not holder.is_elsewhere:
        return f"{what} is in use by {who}; wait for it, or stop it"
    return f"{what} is in use by {who}; if that is gone, delete {path}"


def _read(path: Path) -> Holder | None:
    """Who holds a lock; None where the file is not one of ours, or is gone."""
    try:
        stored = Holder(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    is_ours = [type(value) for value in asdict(stored).values()] == [str, int, str, str, str]
    return stored if is_ours and stored.pid > 0 else None


def _container() -> str:
    """What numbers the processes that this one sees; empty where the system does not tell."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _hold(file: TextIO) -> None:
    """Let the kernel know that this process has the file, for as long as it has it open."""
    with suppress(OSError):  # some network file systems can't
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_let_go(path: Path) -> bool:
    """Whether the kernel knows that no process of this host has a lock, in whatever container."""
    try:
        with path.open("r+", encoding="utf-8") as file:  # NFS asks for the right to write
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


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
