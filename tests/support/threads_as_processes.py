"""Processes that meet, played by threads of one."""

import threading
from collections.abc import Callable
from typing import Any

from seqtrans.protocols import ProcessGroup


class Meeting:
    """A group, and what comes before it, whose others are threads.

    See ``ProcessGroup`` and ``Rendezvous``.
    """

    def __init__(self, rank: int, world: int, table: list[Any], barrier: threading.Barrier) -> None:
        self.rank, self.world_size = rank, world
        self._table, self._barrier = table, barrier

    def sum(self, values):
        return tuple(map(sum, zip(*self._meet(tuple(values)), strict=True)))

    def gather(self, text):
        return self._meet(text)

    def once(self, _name, work, *, per_host=False):  # noqa: ARG002 - the threads share a host
        return self._meet(work() if self.rank == 0 else None)[0] or ""

    def join(self):
        return self

    def await_device(self, device):
        """There is none."""

    def _meet(self, given: Any) -> list[Any]:
        self._table[self.rank] = given
        self._barrier.wait(60)
        found = list(self._table)
        self._barrier.wait(60)
        return found


def together(world: int, work: Callable[[ProcessGroup], Any]) -> list[Any]:
    """What ``work`` returns in each of so many processes."""
    table: list[Any] = [None] * world
    found: list[Any] = [None] * world
    barrier = threading.Barrier(world)

    def run(rank: int) -> None:
        try:
            found[rank] = work(Meeting(rank, world, table, barrier))
        except BaseException:
            barrier.abort()
            raise

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return found
