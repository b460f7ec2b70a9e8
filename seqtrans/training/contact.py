"""What processes tell each other when one of them fails, stops answering or is gone.

Whoever fails says so to the others through the launcher's key-value store, so that of all the
processes of a run one speaks, and it speaks about the cause.
"""

import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch.distributed as dist
from torch.distributed import PrefixStore  # pyright: ignore[reportPrivateImportUsage]

from seqtrans.errors import TrainingError
from seqtrans.protocols import Shard

SPOKEN, HERE, ENDED = "seqtrans/spoken", "seqtrans/here", "seqtrans/ended"
GRACE = 2.0
"""Seconds that processes give each other to notice, and to say, that one is gone."""


class LostContactError(TrainingError):
    """Other processes stopped answering; the message says which and what this one waited for."""


def is_lost_contact(error: BaseException) -> bool:
    """Whether an error of ``torch.distributed`` says that another process does not answer."""
    lost = "gloo" in str(error) or "NCCL" in str(error)  # as a plain RuntimeError
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and lost)


@contextmanager
def in_contact(shard: Shard, where: Callable[[], str]) -> Generator[None]:
    """Within, an error that means that another process is gone says so.

    Args:
        shard: This process.
        where: Tells what it is doing; see ``lost``.

    Raises:
        LostContactError: Another process does not answer.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, TrainingError) or not is_lost_contact(error):
            raise
        raise lost(error, shard, where()) from error


def lost(error: BaseException, shard: Shard, where: str) -> LostContactError:
    """Find out who is missing, and what to say about it.

    Args:
        error: What ``is_lost_contact`` found.
        shard: This process.
        where: What it was doing: "step 12, while it summed gradients".
    """
    waited = "too long" if "timed out" in str(error).lower() else "in vain"
    found = _missing(shard)
    missing = " and ".join(f"process {rank} of {shard.world}{how}" for rank, how in found.items())
    return LostContactError(
        f"{where}: process {shard.rank} waited {waited} for {missing or 'another process'}; "
        "checkpoints are whole: go on with --resume"
    )


def speaks_first(error: BaseException) -> bool:
    """Whether this process is to report ``error``: the first that asks, and the cause first.

    A process that only lost contact gives the one that caused it time to speak.
    """
    store = _store()
    if store is None:
        return True
    try:
        if isinstance(error, LostContactError):
            time.sleep(GRACE)
        return store.add(SPOKEN, 1) == 1
    except RuntimeError:  # the store went with the first process, whose launcher will tell
        return not isinstance(error, LostContactError)


def _missing(shard: Shard) -> dict[int, str]:
    """Ranks that do not notice, as this one does, that something is wrong; how they ended."""
    store = _store()
    if store is None:
        return {}
    keys = [f"{HERE}/{rank}" for rank in range(shard.world)]
    try:
        store.set(keys[shard.rank], "1")
        time.sleep(GRACE)
        missing = [rank for rank, key in enumerate(keys) if not store.check([key])]
        return {rank: _end(store, rank) for rank in missing}
    except RuntimeError:
        return {0: ", with which all contact is lost"}  # it kept the store


def _end(store: Any, rank: int) -> str:
    """What a launcher on this machine knows of a process that is missing."""
    key = f"{ENDED}/{rank}"
    return f", which was ended by {store.get(key).decode()}" if store.check([key]) else ""


def _store() -> Any:
    """The key-value store that the processes of a run share; None where there is one process."""
    if not (dist.is_available() and dist.is_initialized()):
        return None
    store = dist.distributed_c10d._get_default_store()  # pyright: ignore[reportPrivateUsage]
    while isinstance(store, PrefixStore):  # rendezvous and groups add names of their own
        store = store.underlying_store
    return agreed(store)


def agreed(store: Any) -> Any:
    """The part of a launcher's store in which it and the processes tell each other of ends.

    Of those that ``torchrun --max-restarts`` starts again, each attempt has its own.
    """
    return PrefixStore(f"seqtrans/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
