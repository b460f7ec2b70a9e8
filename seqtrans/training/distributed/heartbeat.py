"""Processes that wait for each other while they prepare, for as long as all of them are alive.

One of them may train a vocabulary for hours, so no limit of time could tell work from a failure.
Instead a thread of every process says in the launcher's key-value store, again and again, that the
process lives, and how often it has come to where all meet. The thread only watches: what it finds
is an error in the process if and when that waits, so it can end none that works.
"""

import threading
import time
from typing import Any

import torch.distributed as dist

from seqtrans.training.distributed.failure_reports import (
    KEY_EXITED,
    KEY_REPORTED,
    AbsentError,
    ElsewhereError,
)

_INTERVAL = 1.0  # seconds between two signs of life, at most
_GLANCE = 0.01  # seconds until one that waits looks again, at first


class Meeting:
    """Where all processes of a run meet, however long each of them takes to come.

    Args:
        store: Key-value store that the processes share.
        name: Of the meeting, the same for all and for no other.
        rank: This process.
        world_size: How many there are.
        seconds: Without a sign of life after which a process is lost.
    """

    def __init__(self, store: Any, name: str, rank: int, world_size: int, seconds: float) -> None:
        self._store = store
        self._keys = [f"seqtrans/{name}/{other}" for other in range(world_size)]
        self._rank, self._seconds = rank, seconds
        self._interval = min(_INTERVAL, seconds / 10)
        self._came = self._looks = 0
        self._signs = [""] * world_size
        self._silent = [0.0] * world_size
        self._ends: dict[int, str] = {}
        self._is_spoken = self._is_over = False
        self._failure: Exception | None = None
        self._news = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="signs of life")
        self._thread.start()

    def wait(self) -> None:
        """Come to where all meet, and wait until they have come.

        Raises:
            RuntimeError: A process is gone or silent, or the store is; see ``contact``.
            ElsewhereError: Another process has failed and said why.
        """
        self._came += 1
        self._news.set()
        clock, unanswered, looks = _Clock(self._interval), 0.0, self._looks
        while missing := self._missing():
            self._complain_of(missing)
            unanswered = unanswered + clock.lap() if looks == self._looks else 0.0
            looks = self._looks
            if unanswered > self._seconds:
                raise dist.DistError("what the store was asked timed out")
            time.sleep(_GLANCE)

    def close(self) -> None:
        """Watch no longer; the others still see how often this process came."""
        self._is_over = True
        self._news.set()
        self._thread.join(_INTERVAL)  # it takes longer only where the store does not answer

    def _missing(self) -> list[int]:
        """Those that have not come as often as this process."""
        came = {rank: int(sign.split()[1]) if sign else 0 for rank, sign in enumerate(self._signs)}
        return [rank for rank in came if rank != self._rank and came[rank] < self._came]

    def _complain_of(self, missing: list[int]) -> None:
        if self._failure is not None:
            raise self._failure
        if ended := {rank: self._ends[rank] for rank in missing if rank in self._ends}:
            raise AbsentError("they have ended", ended)
        if self._is_spoken:
            raise ElsewhereError("another process failed; see its message")
        if silent := dict.fromkeys((r for r in missing if self._silent[r] > self._seconds), ""):
            raise AbsentError("waiting for a sign of life timed out", silent)

    def _watch(self) -> None:
        try:
            store = self._store.clone()  # other threads may keep the original for long
            clock, pause, is_last = _Clock(self._interval), 0.0, False
            while not is_last:
                # Often just after this process came somewhere, then ever less often.
                has_come = self._news.wait(pause)
                pause = _GLANCE if has_come else min(self._interval, 1.5 * pause + _GLANCE)
                self._news.clear()
                is_last = self._is_over
                self._look(store, clock.lap())
        except RuntimeError as error:
            self._failure = dist.DistError(f"the store is gone: {error}")

    def _look(self, store: Any, seconds: float) -> None:
        """Give a sign of life, and see who else does, ``seconds`` after the last time."""
        self._looks += 1
        store.set(self._keys[self._rank], f"{self._looks} {self._came}")
        for rank, key in enumerate(self._keys):
            if rank == self._rank or not (self._signs[rank] or store.check([key])):
                sign = ""
            else:
                sign = store.get(key).decode()
            is_new = sign != self._signs[rank]
            self._silent[rank] = 0.0 if is_new else self._silent[rank] + seconds
            self._signs[rank] = sign
            if self._silent[rank] > 2 * self._interval and store.check([f"{KEY_EXITED}/{rank}"]):
                end = store.get(f"{KEY_EXITED}/{rank}").decode()
                self._ends[rank] = f", which was ended by {end}"
        self._is_spoken = store.check([KEY_REPORTED])


class _Clock:
    """Tells how long something took, but never more than ``most`` seconds.

    Where this process was stopped for longer, with all others, none of them is to blame.
    """

    def __init__(self, most: float) -> None:
        self._most = most
        self._last = time.monotonic()

    def lap(self) -> float:
        """Seconds since the last call."""
        now = time.monotonic()
        seconds, self._last = min(now - self._last, self._most), now
        return seconds
