"""Out-of-memory errors: recognize them, free memory, and split batches that do not fit."""

import ctypes
import gc
import logging
import sys
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch

from seqtrans.errors import SeqtransError, TrainingError

T = TypeVar("T")
R = TypeVar("R")
logger = logging.getLogger(__name__)

_OUT_OF_MEMORY = (
    "not enough memory",
    "can't allocate memory",
    "Cannot allocate memory",  # the operating system, when a file is mapped
    "std::bad_alloc",
    "Storage size calculation overflow",
    "could not create a primitive",  # oneDNN, for compiled code and buffers
)
_UNSUPPORTED = "could not create a primitive descriptor"  # oneDNN, for unsupported operations


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out: on a device, in torch or in numpy."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    message = str(error).replace(_UNSUPPORTED, "")
    return any(words in message for words in _OUT_OF_MEMORY)


@contextmanager
def enough_memory(message: Callable[[], str]) -> Generator[None]:
    """Turn running out of memory within this context into an error of one line.

    Raises:
        TrainingError: Memory ran out; ``message`` returns the text.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError(message()) from error


def release() -> None:
    """Free the memory of a failed attempt; call it when its exception is no longer referenced."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


class Halving:
    """Computes batches; a batch that runs out of memory is split in halves, recursively.

    Once a batch had to be split, all later ones are split from the start, since batches of one
    budget have about the same size.

    Args:
        what: Plural noun for the items of a batch: "sentences".
        hint: Advice if a single item does not fit.
        never_split: Never split, because all processes must compute the same number of batches;
            see ``equal_number_of_calls``.
    """

    def __init__(self, what: str, hint: str, *, never_split: bool = False) -> None:
        self._what, self._hint, self._never_split = what, hint, never_split
        self.times = 0
        """How many times every batch is halved before it is first tried."""

    def __call__(
        self, batch: T, compute: Callable[[T], R], halves: Callable[[T], Sequence[T]]
    ) -> list[R]:
        """Compute a batch and return its result, or the results of its parts in order.

        Args:
            batch: The batch to compute.
            compute: Computes a batch; it must have no side effects, as it may be repeated.
            halves: Splits a batch in two; returns one part if it can't be split.

        Raises:
            SeqtransError: A single item does not fit into memory; or a batch does not, and may not
                be split.
        """
        waiting = deque([(batch, 0)])
        results: list[R] = []
        while waiting:
            part, cut = waiting.popleft()
            parts = halves(part) if cut < self.times else ()
            if len(parts) < 2:
                result = attempt(compute, part)
                if result:
                    results += result
                    continue
                release()
                parts = self._after_failure(halves(part), cut)
            waiting.extendleft((half, cut + 1) for half in reversed(parts))
        return results

    def _after_failure(self, parts: Sequence[T], cut: int) -> Sequence[T]:
        if self._never_split:
            raise SeqtransError(
                f"out of memory for a batch of {self._what}, which can't be split where weights "
                f"are sharded: {self._hint}"
            )
        if len(parts) < 2:
            raise SeqtransError(f"out of memory for one of the {self._what}: {self._hint}")
        self.times = max(self.times, cut + 1)
        logger.warning(
            "out of memory for a batch of %s; from now on each batch is computed in %d parts",
            self._what,
            2**self.times,
        )
        return parts


def halves_of(rows: Sequence[T]) -> tuple[Sequence[T], ...]:
    """Split a sequence in two; return it alone if it has one item."""
    middle = (len(rows) + 1) // 2
    return (rows[:middle], rows[middle:]) if middle < len(rows) else (rows,)


def attempt(compute: Callable[[T], R], what: T) -> tuple[R] | None:
    """Return the result, or None if memory ran out and the error was cleared."""
    try:
        return (compute(what),)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
    return None
