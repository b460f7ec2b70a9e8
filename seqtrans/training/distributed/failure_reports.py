"""What processes tell each other when one of them fails, stops answering or is gone.

Whoever fails says so to the others through the launcher's key-value store, so that of all the
processes of a run one speaks, and it speaks about the cause.

``monitored_barrier`` can't name who is missing: once a sum has failed, gloo has closed its
connections, and the barrier fails at once in every process, without a rank.
"""

import os
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Protocol, TypeVar

import torch.distributed as dist
from torch.distributed import PrefixStore  # pyright: ignore[reportPrivateImportUsage]

from seqtrans.errors import TrainingError
from seqtrans.training.distributed.restarts import ONLY

T = TypeVar("T")
KEY_REPORTED, KEY_ALIVE, KEY_EXITED = "seqtrans/spoken", "seqtrans/here", "seqtrans/ended"
GRACE = 2.0
"""Seconds that processes give each other to notice, and to say, that one is gone."""
REACH = 10.0
"""Seconds after which the store is taken to be out of reach."""


class Member(Protocol):
    """A process among those of a run."""

    @property
    def rank(self) -> int:
        """Number of this process, from 0."""
        ...

    @property
    def world_size(self) -> int:
        """How many there are."""
        ...

    @property
    def store(self) -> Any:
        """Key-value store that they share; None: there is one process."""
        ...


class ElsewhereError(TrainingError):
    """Something failed in another process, which knows the cause and tells it."""


class LostContactError(ElsewhereError):
    """Other processes stopped answering; the message says which and what this one waited for."""


class AbsentError(dist.DistError):
    """A wait was given up because some processes are known to be gone, or silent.

    Args:
        message: What happened.
        missing: Their ranks; what to add of each, which may be nothing.
    """

    def __init__(self, message: str, missing: Mapping[int, str]) -> None:
        super().__init__(message)
        self.missing = missing


def is_lost_contact(error: BaseException) -> bool:
    """Return whether an error of ``torch.distributed`` means that another process is gone."""
    lost = "gloo" in str(error) or "NCCL" in str(error)  # as a plain RuntimeError
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and lost)


@contextmanager
def in_contact(group: Member, where: Callable[[], str]) -> Generator[None]:
    """Turn an error that means that another process is gone into one that says so.

    Args:
        group: This process.
        where: Tells what it is doing; see ``lost``.

    Raises:
        LostContactError: Another process does not answer.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, TrainingError) or not is_lost_contact(error):
            raise
        raise lost(error, group, where()) from error


def lost(error: BaseException, group: Member, where: str) -> LostContactError:
    """Find out who is missing, and what to say about it.

    Args:
        error: What ``is_lost_contact`` found.
        group: This process.
        where: What it was doing: "step 12, while it summed gradients".
    """
    waited = "too long" if "timed out" in str(error).lower() else "in vain"
    ends = error.missing if isinstance(error, AbsentError) else _missing(group)
    missing = " and ".join(
        f"process {rank} of {group.world_size}{end}" for rank, end in ends.items()
    )
    return LostContactError(
        f"{where}: process {group.rank} waited {waited} for {missing or 'another process'}; "
        "checkpoints are whole: go on with --resume"
    )


def should_report(error: BaseException, group: Member | None) -> bool:
    """Return whether this process reports ``error``: the first that asks does, the cause first.

    A process that only met the consequences gives the one that caused them time to speak. On a
    host that can reach no other, one process speaks for it.

    Args:
        error: What has ended it.
        group: This process; None: it has not met the others.
    """
    store = group.store if group else None
    if store is None:
        return not isinstance(error, LostContactError) or _speaks_for_host()
    is_cause = not isinstance(error, ElsewhereError)
    if not is_cause:
        time.sleep(GRACE)
    asked = answer(lambda: store.add(KEY_REPORTED, 1))
    if os.environ.get("RANK") == "0" and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "False":
        time.sleep(2 * GRACE)  # this process keeps the store, and others still want to ask
    if asked is None:
        return is_cause or _speaks_for_host()
    return asked == 1


def _speaks_for_host() -> bool:
    return os.environ.get("LOCAL_RANK", "0") == "0"


def _missing(group: Member) -> dict[int, str]:
    """Ranks that do not notice, as this one does, that something is wrong; how they ended."""
    store = group.store
    if store is None:
        return {}
    keys = [f"{KEY_ALIVE}/{rank}" for rank in range(group.world_size)]

    def look() -> dict[int, str]:
        store.set(keys[group.rank], "1")
        time.sleep(GRACE)
        missing = [rank for rank, key in enumerate(keys) if not store.check([key])]
        return {rank: end_of(store, rank) for rank in missing}

    missing = answer(look)
    if missing is None:  # the store is where the first process is
        return {0: ", with which all contact is lost"} if group.rank else {}
    return missing


def answer(ask: Callable[[], T], seconds: float = REACH) -> T | None:
    """Return what comes of asking the store; None where it is gone, or does not answer."""
    answers: list[T] = []

    def run() -> None:
        with suppress(RuntimeError):
            answers.append(ask())

    # In a thread, because nothing ends a wait for a host that is cut off.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    return answers[0] if answers else None


def end_of(store: Any, rank: int) -> str:
    """Return what a launcher on this machine says of how a process ended; empty: nothing."""
    key = f"{KEY_EXITED}/{rank}"
    return f", which {store.get(key).decode()}" if store.check([key]) else ""


def attempt_store(store: Any, attempt: str = ONLY) -> Any:
    """Return the part of a launcher's store that it and the processes of an attempt use."""
    return PrefixStore(f"seqtrans/{attempt}", store)
