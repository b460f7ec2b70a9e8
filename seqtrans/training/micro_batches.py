"""How the batches of an epoch become updates, and how processes share those."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from torch import nn

from seqtrans.errors import TrainingError
from seqtrans.protocols import BatchT, ProcessGroup
from seqtrans.training.distributed.sharded_tensors import in_parts

T = TypeVar("T")


def check_shares(accumulate: int, processes: int) -> None:
    """Make sure that every process has a micro-batch in an update.

    Raises:
        TrainingError: There are more processes than micro-batches.
    """
    if processes > accumulate:
        raise TrainingError(
            f"{processes} processes can't share {accumulate} micro-batches an update; "
            f"set training.accumulate to {processes} or a multiple, or training.processes.batch "
            "to each"
        )


def shared_updates(
    batches: Iterator[Callable[[], BatchT]], accumulate: int, group: ProcessGroup, start: int
) -> Iterator[Sequence[BatchT]]:
    """See ``Task.updates``; of an update's micro-batches, N processes take every Nth.

    The last update of an epoch may be short: then some get none, and an update is still the same
    whatever the number of processes.

    Args:
        batches: Functions that make the batches of the epoch.
        accumulate: Micro-batches an update; the same whatever the number of processes.
        group: This process.
        start: Micro-batches to leave out.

    Raises:
        TrainingError: There are more processes than micro-batches.
    """
    check_shares(accumulate, group.world_size)
    skipped = islice(batches, start, None)
    while update := list(islice(skipped, accumulate)):
        yield [make() for make in update[group.rank :: group.world_size]]


def equal_number_of_calls(
    model: nn.Module, group: ProcessGroup, inputs: Sequence[T], spare: T
) -> Iterator[tuple[T, bool]]:
    """Yield what this process is to call a model with, and whether the result counts.

    Where weights are shared out, each call fetches them from all processes, so that all must make
    as many: those that have fewer make the rest with ``spare``. What comes of a call is not to be
    read before the next is asked for: until then the others may keep a GPU waiting.

    Args:
        model: To be called.
        group: This process; every one must take all there is.
        inputs: What this process calls it with.
        spare: For calls that count for nothing.
    """
    number = len(inputs)
    if in_parts(model):
        number = max(map(int, group.gather(str(number))))
    device = next(model.parameters()).device
    for i in range(number):
        yield (inputs[i], True) if i < len(inputs) else (spare, False)
        group.await_device(device)
