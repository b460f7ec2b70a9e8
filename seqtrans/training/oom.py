"""Answer a lack of memory in training: compute smaller parts, and remember how small.

What was learnt is a function of the step and lies on the disk, so that a run which goes on divides
the same micro-batches.
"""

import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic

import torch
from torch import nn

from seqtrans import config
from seqtrans.config.types import NonNegative, Positive
from seqtrans.errors import CheckpointError, RecipeError, TrainingError
from seqtrans.protocols import BatchT, ProcessGroup, Task
from seqtrans.runtime.files.atomic_files import open_aside
from seqtrans.runtime.out_of_memory import release
from seqtrans.training.distributed.process_group import TorchProcessGroup, all_or_none
from seqtrans.training.distributed.wrappers import Replica
from seqtrans.training.optim.optimizer import Gradients

logger = logging.getLogger(__name__)

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
        self.limits: tuple[Limit, ...] = ()

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
            self.limits = config.loads(Limits, told, str(self._file)).limits
        except RecipeError as error:
            first = str(error).partition("\n")[0]
            raise CheckpointError(f"{first}; delete it, and memory will be tried anew") from error

    def limit(self, step: int) -> int | None:
        """The largest ``Batch.size`` after ``step`` steps; None: whatever there is."""
        sizes = [limit.largest for limit in self.limits if limit.after_step <= step]
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
        self.limits = (*self.limits, limit)
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
                file.write(config.dump(Limits(limits=self.limits)).encode())
        except OSError as error:
            reason = error.strerror or error
            raise TrainingError(f"{self._file} can't be written: {reason}") from error

    def shown(self, step: int) -> Mapping[str, float]:
        """What to log: nothing as long as all fits."""
        limit = self.limit(step)
        return {} if limit is None else {"size_limit": float(limit)}


class PartTooLargeError(Exception, Generic[BatchT]):
    """Memory ran out in an attempt at an update, which is then made again in smaller parts.

    Args:
        part: What this process computed then; None: it ran out in another process.
    """

    def __init__(self, part: BatchT | None) -> None:
        super().__init__()
        self.part = part


class OomRecovery(Generic[BatchT]):
    """Makes an update ready to be computed again, in smaller parts.

    Where memory runs out, in whichever process and pass, what there is of the gradient is thrown
    away and all processes compute all of it again, with smaller parts of micro-batches: ``sizes``
    says how small, from this step on. The sums stay those of whole micro-batches; but dropout
    draws for each part anew, and batch normalization normalizes each by itself.

    An update that fits costs nothing more: processes agree at its end, as they do on whether the
    loss is finite. Whoever has failed by then has given zeros to the others, who average their
    gradients while they compute them. Where weights are shared out there is nothing to give: the
    run ends, and once it goes on takes smaller parts.

    Args:
        task: What to learn from.
        model: What learns.
        group: This process.
        gradients: Of the model.
        sizes: What is known to fit.
    """

    def __init__(
        self,
        task: Task[Any],
        model: nn.Module,
        group: TorchProcessGroup,
        gradients: Gradients,
        sizes: MicroBatchSizeLimits,
    ) -> None:
        self.task, self.group, self.sizes, self.gradients = task, group, sizes, gradients
        has_buffers = any(True for _ in model.buffers())
        self.buffers = BufferSnapshot(model) if has_buffers else None

    def shrink_parts(self, failed: BatchT | None, step: int) -> None:
        """Agree on what fits, keep that, and make ready for another attempt.

        Args:
            failed: For which part memory ran out in this process; None: for none.
            step: Updates done before.

        Raises:
            TrainingError: What failed can't be divided, or what was learnt can't be kept.
        """
        own = None if failed is None else (failed.size, len(failed.halves()))
        found = [json.loads(text) for text in self.group.gather(json.dumps(own))]
        shortages: list[tuple[int, int]] = [(size, parts) for size, parts in filter(None, found)]
        size = min(size for size, _ in shortages)
        if any(parts == 1 for _, parts in shortages):
            raise indivisible(size, f"step {step + 1}: ")
        limit = self.sizes.learn(step, size)
        with all_or_none(self.group, "what was learnt of memory"):
            if self.group.rank == 0:
                self.sizes.write()
        text = (
            "step %d: memory ran out for %s %s, padding counted; what is larger than %s is divided"
        )
        logger.warning(text, step + 1, f"{size:,}", self.task.unit, f"{limit:,}")
        self.gradients.drop()
        release()
        if self.buffers:
            self.buffers.restore()

    def complete_collectives(self, replica: Replica, failed: BatchT, step: int) -> None:
        """Answer the others, who go on and do not know yet that memory ran out here.

        Raises:
            TrainingError: There is no way to, or what failed can't be divided.
        """
        self.gradients.drop()
        release()
        if replica.complete_collectives_with_zeros():
            return
        if len(failed.halves()) == 1:
            raise indivisible(failed.size, f"step {step + 1}: ")
        limit = self.sizes.record_locally(step, failed.size)
        raise TrainingError(
            f"step {step + 1}: memory ran out for {failed.size:,} {self.task.unit}, padding "
            "counted, and where weights are shared out processes can't try again: go on with "
            f"--resume, by which what is larger than {limit:,} is divided"
        )


class BufferSnapshot:
    """The buffers of a model, such as running statistics, to be restored after a failed attempt.

    Args:
        model: It has buffers, and changes them in place only.
    """

    def __init__(self, model: nn.Module) -> None:
        self._buffers = list(model.buffers())
        self._saved = [buffer.detach().clone() for buffer in self._buffers]

    @torch.no_grad()
    def save(self) -> None:
        """Save their values."""
        torch._foreach_copy_(self._saved, self._buffers)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]

    @torch.no_grad()
    def restore(self) -> None:
        """Restore the saved values."""
        torch._foreach_copy_(self._buffers, self._saved)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]


def indivisible(size: int, where: str = "") -> TrainingError:
    """The error that not even a part of ``size`` fits; ``where`` goes before it."""
    return TrainingError(
        f"{where}memory can't hold a part, of size {size:,}, that can't be divided: leave out "
        "sentences that long, or take smaller images or a smaller model"
    )


def smallest(batch: BatchT) -> BatchT:
    """A part of a batch that can't be divided: it fits if anything does."""
    while len(halves := batch.halves()) > 1:
        batch = halves[0]
    return batch
