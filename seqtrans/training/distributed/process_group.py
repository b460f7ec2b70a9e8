"""Processes that train one model together, over ``torch.distributed``.

Batch normalization normalizes every micro-batch by itself, in whichever process, so the gradient is
that of one process with the same micro-batches. The running statistics are those of the first
process: it saves them, and all judge by them.
"""

import os
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from seqtrans.errors import TrainingError
from seqtrans.protocols import ProcessGroup
from seqtrans.tensor_types import Tensor
from seqtrans.training.distributed.failure_reports import (
    ElsewhereError,
    LostContactError,
    attempt_store,
    in_contact,
    shared_store,
)
from seqtrans.training.distributed.heartbeat import Meeting
from seqtrans.training.distributed.restarts import name_attempt

PATIENCE = 600.0
"""Seconds that processes wait for each other until the recipe says how long."""
WATCHDOG = 30.0
"""Seconds that nccl waits longer for the others than we do: its watchdog, having waited too long,
ends the process without a word about where that was."""
EAGER = 5e-3
"""Seconds that we look again and again for the answers of others before we sleep until they come:
who sleeps wakes up late (two processes on two cores: 2.7 ms for a sum, awake 1.1 ms)."""
GLANCE = 5e-5
"""Seconds between two looks at whether a GPU is ready; an update takes a hundred times as long."""


@dataclass(frozen=True)
class TorchProcessGroup:
    """This process among all of a run. See ``protocols.ProcessGroup``."""

    rank: int = 0
    world_size: int = 1
    group: Any = field(default=None, compare=False, repr=False)
    """The ``torch.distributed`` group to talk in; None: that of all processes."""
    patience: float = field(default=PATIENCE, compare=False)
    """Seconds to wait for the others."""
    meeting: Meeting | None = field(default=None, compare=False, repr=False)
    """Where to wait for the others before talking to them; None: wait while talking."""

    def meet(self) -> None:
        """Wait until all processes have called it, if need be for longer than ``patience``."""
        if self.meeting is not None:
            self.meeting.wait()

    def unattended(self) -> "TorchProcessGroup":
        """The same processes in the same group, which no longer meet before they talk."""
        return replace(self, meeting=None)

    def sum(self, values: Sequence[float]) -> tuple[float, ...]:
        """See ``ProcessGroup.sum``; in fp64 and on the CPU, so that counts stay exact."""
        if self.world_size == 1:
            return tuple(values)
        self.meet()
        totals = torch.tensor(values, dtype=torch.float64)
        work: Any = dist.all_reduce(totals, group=self.group, async_op=True)
        deadline = time.monotonic() + EAGER
        while not work.is_completed() and time.monotonic() < deadline:
            time.sleep(0)
        work.wait()
        return tuple(totals.tolist())

    def gather(self, text: str) -> list[str]:
        """See ``ProcessGroup.gather``; as bytes, because torch would pickle objects."""
        if self.world_size == 1:
            return [text]
        self.meet()
        own = torch.frombuffer(bytearray(text.encode() or b"\0"), dtype=torch.uint8)
        sizes = torch.zeros(self.world_size, dtype=torch.int64)
        sizes[self.rank] = len(text.encode())
        dist.all_reduce(sizes, group=self.group)
        padded = torch.zeros(max(1, int(sizes.max())), dtype=torch.uint8)
        padded[: len(own)] = own
        found = [torch.empty_like(padded) for _ in range(self.world_size)]
        dist.all_gather(found, padded, group=self.group)
        sized = zip(found, sizes.tolist(), strict=True)
        return [row[:size].numpy().tobytes().decode() for row, size in sized]

    def share(self, tensors: Iterable[Tensor]) -> None:
        """Give every process those of the first; every process must call it."""
        if self.world_size > 1:
            self.meet()
            for tensor in tensors:
                dist.broadcast(tensor, src=0, group=self.group)

    def await_device(self, device: torch.device) -> None:
        """Wait until a GPU has done all it was asked to, which other processes may keep it from.

        A number that is read from it would be waited for without end. On a CPU what processes
        exchange is waited for by itself, and this does nothing.

        Raises:
            RuntimeError: It took longer than these processes wait for each other; see ``contact``.
        """
        if self.world_size == 1 or device.type != "cuda":
            return
        done = torch.cuda.Event()
        done.record()
        deadline = time.monotonic() + self.patience
        while not done.query():
            if time.monotonic() > deadline:
                raise dist.DistError("what the GPU waits for timed out")
            time.sleep(GLANCE)


SINGLE_PROCESS = TorchProcessGroup()


@contextmanager
def all_or_none(group: ProcessGroup, what: str) -> Generator[None]:
    """Within, one process writes; if it can't, that is an error in all of them.

    Args:
        group: This process; every one must enter.
        what: Is written: for the processes that know no more.

    Raises:
        TrainingError: That which the writing process raised, or that it raised one.
    """
    error = None
    try:
        yield
    except TrainingError as caught:
        error = caught
    (failures,) = group.sum([float(error is not None)])
    if error:
        raise error
    if failures:
        raise ElsewhereError(f"another process could not save {what}; see its message")


def join(init_method: str = "env://") -> TorchProcessGroup:
    """Join the processes that a launcher such as ``torchrun`` started with this one.

    The launcher tells through ``RANK`` and ``WORLD_SIZE``; without them there is one process
    and nothing to join. Tensors on the CPU travel by gloo, those on CUDA devices by nccl.

    Raises:
        LostContactError: Some have not come.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        return SINGLE_PROCESS
    rank = int(os.environ["RANK"])
    backend = "gloo"
    if torch.cuda.is_available():
        backend = "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    group, timeout = TorchProcessGroup(rank, world_size), timedelta(seconds=PATIENCE)
    with in_contact(group, lambda: "starting"):
        try:
            store, _, _ = next(iter(rendezvous(init_method, rank, world_size)))
            store = attempt_store(store, name_attempt(store, rank, world_size, PATIENCE))
        except TimeoutError as error:
            raise LostContactError(
                f"starting: process {rank} waited too long for {error}; "
                "checkpoints are whole: go on with --resume"
            ) from error
        dist.init_process_group(
            backend, store=store, rank=rank, world_size=world_size, timeout=timeout
        )
    return group


@contextmanager
def patient(group: TorchProcessGroup, seconds: float, name: str) -> Generator[TorchProcessGroup]:
    """The same processes; within, they wait for each other for as long as all are alive.

    Every one must enter. What is asked of ``seconds`` is a sign of life, not that they come.

    Args:
        group: This process.
        seconds: Of silence after which a process is lost.
        name: Of what they do, unlike any other.
    """
    if group.world_size == 1:
        yield group
        return
    meeting = Meeting(shared_store(), name, group.rank, group.world_size, seconds)
    try:
        yield replace(group, meeting=meeting)
    finally:
        meeting.close()


def impatient(group: TorchProcessGroup, seconds: float) -> TorchProcessGroup:
    """The same processes, which from now on wait for each other no longer than ``seconds``.

    A wait that takes longer is an error in the process that waits; see ``contact.lost``. Patient
    ones do wait until all have come, before they talk.
    """
    if group.world_size == 1:
        return group
    group.meet()
    slack = WATCHDOG if torch.cuda.is_available() else 0.0
    made = dist.new_group(timeout=timedelta(seconds=seconds + slack))
    return replace(group, group=made, patience=seconds)


def leave() -> None:
    """Undo ``join``; nothing where nothing was joined."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
