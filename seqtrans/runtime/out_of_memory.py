"""Where memory runs out: recognize it, give back what was held, compute the rest in halves."""

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
    "Cannot allocate memory",  # the system, of a file to be mapped
    "std::bad_alloc",
    "Storage size calculation overflow",
    "could not create a primitive",  # oneDNN, of the code that it compiles and of its buffers
)
_NO_SUCH_WAY = "could not create a primitive descriptor"  # oneDNN, of what it can't do here at all


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: on a device, in torch or in numpy."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    said = str(error).replace(_NO_SUCH_WAY, "")
    return any(words in said for words in _OUT_OF_MEMORY)


@contextmanager
def enough_memory(complaint: Callable[[], str]) -> Generator[None]:
    """Within, running out of memory is an error of one line.

    Raises:
        TrainingError: Memory ran out; ``complaint`` says it.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError(complaint()) from error


def release() -> None:
    """Give back what an attempt held that ran out of memory, once its error is gone."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


class Halving:
    """Computes batches, and the halves of those for which memory runs out, and so on.

    Once a batch had to be halved, all after it are at once: batches of a budget are as large.

    Args:
        what: What a batch is made of, in the plural: "sentences".
        remedy: What helps where one alone does not fit.
        never_split: Never halve, as all processes must compute as many batches; see
            ``equal_number_of_calls``.
    """

    def __init__(self, what: str, remedy: str, *, never_split: bool = False) -> None:
        self._what, self._remedy, self._never_split = what, remedy, never_split
        self.times = 0
        """How often batches are halved from the start."""

    def __call__(
        self, batch: T, compute: Callable[[T], R], halves: Callable[[T], Sequence[T]]
    ) -> list[R]:
        """Results of the batch, or of its parts in order.

        Args:
            batch: What to compute.
            compute: How; without effects that a second attempt would repeat.
            halves: Cuts a batch in two; gives but one where that can't be.

        Raises:
            SeqtransError: Not even one of what a batch is made of fits into memory; or a batch does
                not, and none may be halved.
        """
        waiting = deque([(batch, 0)])
        results: list[R] = []
        while waiting:
            part, cut = waiting.popleft()
            parts = halves(part) if cut < self.times else ()
            if len(parts) < 2:
                found = attempt(compute, part)
                if found:
                    results += found
                    continue
                release()
                parts = self._after_failure(halves(part), cut)
            waiting.extendleft((half, cut + 1) for half in reversed(parts))
        return results

    def _after_failure(self, parts: Sequence[T], cut: int) -> Sequence[T]:
        if self._never_split:
            raise SeqtransError(
                f"memory can't hold a batch of {self._what}, and where weights are shared out "
                f"processes can't try a part of it: {self._remedy}"
            )
        if len(parts) < 2:
            raise SeqtransError(f"memory can't hold one of the {self._what}: {self._remedy}")
        self.times = max(self.times, cut + 1)
        logger.warning(
            "memory ran out for a batch of %s; from here on they are computed in %d parts",
            self._what,
            2**self.times,
        )
        return parts


def halves_of(rows: Sequence[T]) -> tuple[Sequence[T], ...]:
    """A sequence in two, or alone."""
    middle = (len(rows) + 1) // 2
    return (rows[:middle], rows[middle:]) if middle < len(rows) else (rows,)


def attempt(compute: Callable[[T], R], what: T) -> tuple[R] | None:
    """Return the result; None where memory ran out, once the error and what it held are gone."""
    try:
        return (compute(what),)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
    return None
