"""How much fits into memory at once: learnt while training, and the same when a run goes on."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from seqtrans import config
from seqtrans.config.types import NonNegative, Positive
from seqtrans.errors import CheckpointError, RecipeError, TrainingError
from seqtrans.protocols import BatchT, ProcessGroup
from seqtrans.runtime.files.atomic_files import open_aside

_SHARE = 0.75
"""Of a size that did not fit, what is still tried. Halves of it are smaller, an odd row counted."""


@dataclass(frozen=True, kw_only=True)
class Limit:
    """After so many steps, what is larger is divided."""

    after_step: NonNegative
    largest: Positive  # ``Batch.size``


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What ``sizes.yaml`` holds."""

    limits: tuple[Limit, ...] = field(default=())


class MicroBatchSizeLimits:
    """The largest part of a micro-batch that is computed at once, as a function of the step.

    Whether memory runs out is no function of anything, and a divided micro-batch differs in its
    last bits and in its dropout. So what is learnt is on the disk before it is used: a run that
    is stopped and goes on divides the same micro-batches from the same step on, even where there
    is more memory then. Without ``sizes.yaml`` a run would forget it.

    Args:
        file: Where to keep what is learnt; None: nowhere.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._limits: tuple[Limit, ...] = ()

    def read(self, group: ProcessGroup) -> None:
        """Take up what was learnt before a stop, as the first process finds it.

        Raises:
            CheckpointError: The file is not what seqtrans wrote.
        """
        if self._file is None:
            return
        try:
            found = Limits()
            if group.rank == 0 and self._file.exists():
                found = config.load(Limits, self._file)
            told = group.gather(config.dump(found))[0]  # see ``CheckpointManager``
            self._limits = config.loads(Limits, told, str(self._file)).limits
        except RecipeError as error:
            first = str(error).partition("\n")[0]
            raise CheckpointError(f"{first}; delete it, and memory will be tried anew") from error

    def limit(self, step: int) -> int | None:
        """The largest ``Batch.size`` after ``step`` steps; None: whatever there is."""
        sizes = [limit.largest for limit in self._limits if limit.after_step <= step]
        return min(sizes, default=None)

    def parts(self, batch: BatchT, step: int) -> list[BatchT]:
        """The batch in parts within the limit, as far as it can be divided; in order."""
        limit = self.limit(step)
        halves = [batch] if limit is None or batch.size <= limit else batch.halves()
        if len(halves) == 1:
            return [batch]
        return [part for half in halves for part in self.parts(half, step)]

    def learn(self, step: int, size: int) -> int:
        """Note that ``size`` did not fit after ``step`` steps; the new limit."""
        limit = Limit(after_step=step, largest=max(1, int(size * _SHARE)))
        self._limits = (*self._limits, limit)
        return limit.largest

    def record_locally(self, step: int, size: int) -> int:
        """Note and keep what no other process knows of; of several that do so, one is kept."""
        limit = self.learn(step, size)
        with suppress(TrainingError):
            self.write()
        return limit

    def write(self) -> None:
        """Keep what was learnt.

        Raises:
            TrainingError: It can't be written.
        """
        if self._file is None:
            return
        try:
            with open_aside(self._file) as file:
                file.write(config.dump(Limits(limits=self._limits)).encode())
        except OSError as error:
            reason = error.strerror or error
            raise TrainingError(f"{self._file} can't be written: {reason}") from error

    def shown(self, step: int) -> Mapping[str, float]:
        """What to log: nothing as long as all fits."""
        limit = self.limit(step)
        return {} if limit is None else {"size_limit": float(limit)}
