"""Compute a value before it is asked for."""

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Ahead(Generic[Value]):
    """Calls a pure function of numbers; in another thread also with those that come next.

    At most one value is held. A forked child, which lacks that thread, computes it itself.
    """

    def __init__(self, function: Callable[..., Value]) -> None:
        self._function = function
        self._started: dict[tuple[int, ...], Future[Value]] = {}

    def __call__(self, *numbers: int) -> Value:
        """Return the value, which may have been computed ahead."""
        future = self._started.pop((os.getpid(), *numbers), None)
        return future.result() if future else self._function(*numbers)

    def start(self, *numbers: int) -> Future[Value]:
        """Compute the value that comes next; one that was started before is forgotten."""
        executor = ThreadPoolExecutor(1)
        future = executor.submit(self._function, *numbers)
        executor.shutdown(wait=False)
        self._started = {(os.getpid(), *numbers): future}
        return future
