"""Processes that train one model together, over ``torch.distributed``.

Batch normalization normalizes every micro-batch by itself, in whichever process, so the gradient is
that of one process with the same micro-batches. The running statistics are those of the first
process: it saves them, and all judge by them.
"""

import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist

from seqtrans.errors import TrainingError
from seqtrans.protocols import ProcessGroup
from seqtrans.tensor_types import Tensor
from seqtrans.training.distributed.failure_reports import ElsewhereError

PATIENCE = 600.0
"""Seconds that processes wait for each other until the recipe says how long."""
EAGER = 5e-3
"""Seconds that we look again and again for the answers of others before we sleep until they come:
who sleeps wakes up late (two processes on two cores: 2.7 ms for a sum, awake 1.1 ms)."""
GLANCE = 5e-5
"""Seconds between two looks at whether a GPU is ready; an update takes a hundred times as long."""


@dataclass(frozen=True)
class TorchProcessGroup:
    """This process among several of a run. See ``protocols.ProcessGroup``."""

    rank: int
    world_size: int
    patience: float = field(default=PATIENCE, compare=False)
    """Seconds to wait for the others."""
    store: Any = field(default=None, compare=False, repr=False)
    """Key-value store that they share, to find out who fails; None: there is one process."""

    def sum(self, values: Sequence[float]) -> tuple[float, ...]:
        """See ``ProcessGroup.sum``; in fp64 and on the CPU, so that counts stay exact."""
        totals = torch.tensor(values, dtype=torch.float64)
        work: Any = dist.all_reduce(totals, async_op=True)
        deadline = time.monotonic() + EAGER
        while not work.is_completed() and time.monotonic() < deadline:
            time.sleep(0)
        work.wait()
        return tuple(totals.tolist())

    def gather(self, text: str) -> list[str]:
        """See ``ProcessGroup.gather``; as bytes, because torch would pickle objects."""
        encoded = torch.frombuffer(bytearray(text.encode() or b"\0"), dtype=torch.uint8)
        sizes = torch.zeros(self.world_size, dtype=torch.int64)
        sizes[self.rank] = len(text.encode())
        dist.all_reduce(sizes)
        padded = torch.zeros(max(1, int(sizes.max())), dtype=torch.uint8)
        padded[: len(encoded)] = encoded
        rows = [torch.empty_like(padded) for _ in range(self.world_size)]
        dist.all_gather(rows, padded)
        sized = zip(rows, sizes.tolist(), strict=True)
        return [row[:size].numpy().tobytes().decode() for row, size in sized]

    def share(self, tensors: Iterable[Tensor]) -> None:
        """Give every process those of the first; every process must call it."""
        for tensor in tensors:
            dist.broadcast(tensor, src=0)

    def await_device(self, device: torch.device) -> None:
        """Wait until a GPU has done all it was asked to, which other processes may keep it from.

        A number that is read from it would be waited for without end. On a CPU what processes
        exchange is waited for by itself, and this does nothing.

        Raises:
            RuntimeError: It took longer than these processes wait for each other; see ``contact``.
        """
        if device.type != "cuda":
            return
        done = torch.cuda.Event()
        done.record()
        deadline = time.monotonic() + self.patience
        while not done.query():
            if time.monotonic() > deadline:
                raise dist.DistError("what the GPU waits for timed out")
            time.sleep(GLANCE)


@contextmanager
def all_or_none(group: ProcessGroup, what: str) -> Generator[None]:
    """Let one process write; if it can't, raise an error in all of them.

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


def leave() -> None:
    """Undo ``Rendezvous.join``; nothing where nothing was joined."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
