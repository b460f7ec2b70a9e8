"""Computing what memory can't hold at once, without learning from it: in halves."""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

from seqtrans.errors import SeqtransError
from seqtrans.runtime.out_of_memory import is_out_of_memory, release

T = TypeVar("T")
R = TypeVar("R")
logger = logging.getLogger(__name__)


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
