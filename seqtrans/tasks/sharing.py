"""How the batches of an epoch become updates, and how processes share those."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from seqtrans.errors import TrainingError
from seqtrans.protocols import BatchT, Shard


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
    batches: Iterator[Callable[[], BatchT]], accumulate: int, shard: Shard, start: int
) -> Iterator[Sequence[BatchT]]:
    """See ``Task.updates``; of an update's micro-batches, N processes take every Nth.

    The last update of an epoch may be short: then some get none, and an update is still the same
    whatever the number of processes.

    Args:
        batches: Functions that make the batches of the epoch.
        accumulate: Micro-batches an update; the same whatever the number of processes.
        shard: This process.
        start: Micro-batches to leave out.

    Raises:
        TrainingError: There are more processes than micro-batches.
    """
    check_shares(accumulate, shard.world)
    skipped = islice(batches, start, None)
    while update := list(islice(skipped, accumulate)):
        yield [make() for make in update[shard.rank :: shard.world]]
