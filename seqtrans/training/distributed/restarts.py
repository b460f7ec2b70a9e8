"""Processes that ``torchrun`` starts again after a failure: which belong together, and to what."""

import os
import socket
import time
import uuid
from collections.abc import Collection
from pathlib import Path
from typing import Any

from seqtrans.runtime.files.atomic_files import write_atomically

_HELLO, _ANSWER, _MET = "seqtrans/hello", "seqtrans/answer", "seqtrans/met"
ONLY = "0"
"""Name of the attempt where there is but one."""


def job() -> str:
    """Return an id that restarted processes share with those before; empty: nobody restarts them.

    It is the id of ``torchrun --rdzv-id``, the same after every host was started anew. Without one
    it is the process that started this one, which outlives those that it restarts.
    """
    name = os.environ.get("TORCHELASTIC_RUN_ID")
    if name is None or name != "none":
        return name or ""
    parent = os.getppid()
    return f"{socket.gethostname()} {parent} {_start_of(parent)}"


def _start_of(pid: int) -> str:
    """Boot and clock tick at which a process started, as process ids are used again.

    Empty where the system does not tell.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return f"{boot} {stat.rpartition(')')[2].split()[19]}"  # the name in brackets holds anything


def is_owned_by(file: Path, job: str) -> bool:
    """Return whether ``write_owner`` wrote the name of this job into a file."""
    try:
        return job != "" and file.read_text(encoding="utf-8") == job
    except (OSError, UnicodeDecodeError):
        return False


def write_owner(file: Path, job: str) -> None:
    """Let that of which a file tells belong to a job; nothing where its name is empty.

    Raises:
        OSError: The file can't be written.
    """
    if job and not is_owned_by(file, job):
        write_atomically(file, job)


def name_attempt(store: Any, rank: int, world_size: int, seconds: float) -> str:
    """Return a name that the processes of this attempt share, and those of no other.

    The store of a launcher outlives the processes, and what earlier ones told each other in it
    would mislead. Launchers count restarts, but each host for itself. So the first process draws a
    name, and tells it to those that answer.

    Args:
        store: The key-value store of a launcher.
        rank: This process.
        world_size: How many there are; every one must call it.
        seconds: How long to wait for the others.

    Raises:
        TimeoutError: That was not enough; names those that are missing.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return ONLY
    drawn = uuid.uuid4().hex
    deadline = time.monotonic() + seconds
    if rank > 0:
        store.set(f"{_HELLO}/{rank}", drawn)
        while not store.check([f"{_ANSWER}/{drawn}"]):
            _pause(deadline, {0}, world_size)
        name = store.get(f"{_ANSWER}/{drawn}").decode()
        store.set(f"{_MET}/{name}/{rank}", "1")
        return name
    missing = set(range(1, world_size))
    while missing:
        for other in sorted(missing):
            if store.check([f"{_HELLO}/{other}"]):  # maybe from one that is gone
                store.set(f"{_ANSWER}/{store.get(f'{_HELLO}/{other}').decode()}", drawn)
            if store.check([f"{_MET}/{drawn}/{other}"]):
                missing.remove(other)
        _pause(deadline, missing, world_size)
    return drawn


def _pause(deadline: float, missing: Collection[int], world_size: int) -> None:
    if missing and time.monotonic() > deadline:
        raise TimeoutError(
            " and ".join(f"process {rank} of {world_size}" for rank in sorted(missing))
        )
    time.sleep(0.02)
