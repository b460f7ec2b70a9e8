"""When memory runs out in training: compute smaller parts of micro-batches, and store the limit.

The limit is a function of the step and is stored, so that a resumed run divides the same
micro-batches.
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
from seqtrans.training.distributed.wrappers import ParallelReplica
from seqtrans.training.optim.optimizer import Gradients

logger = logging.getLogger(__name__)

_SHARE = 0.75
"""Of a size that did not fit, what is still tried. Halves of it are smaller, an odd row counted."""


@dataclass(frozen=True, kw_only=True)
class Limit:
    """From a step on, larger micro-batches are divided."""

    after_step: NonNegative
    largest: Positive  # ``Batch.size``


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What ``sizes.yaml`` holds."""

    limits: tuple[Limit, ...] = field(default=())


class MicroBatchSizeLimits:
    """The largest part of a micro-batch that is computed at once, as a function of the step.

    When memory runs out can't be computed, and a divided micro-batch differs in its last bits and
    in its dropout. So a limit is stored before it is used: a resumed run divides the same
    micro-batches from the same step on, even if it has more memory.

    Args:
        file: ``sizes.yaml``, where limits are stored; None: nowhere.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self.limits: tuple[Limit, ...] = ()

    def read(self, group: ProcessGroup) -> None:
        """Read the limits that the first process finds in the file.

        Raises:
            CheckpointError: The file is not what seqtrans wrote.
        """
        if self._file is None:
            return
        try:
            stored = Limits()
            if group.rank == 0 and self._file.exists():
                stored = config.load(Limits, self._file)
            text = group.gather(config.dump(stored))[0]  # see ``CheckpointManager``
            self.limits = config.loads(Limits, text, str(self._file)).limits
        except RecipeError as error:
            first = str(error).partition("\n")[0]
            raise CheckpointError(f"{first}; delete it, and memory will be tried anew") from error

    def limit(self, step: int) -> int | None:
        """Return the largest ``Batch.size`` after ``step`` steps; None: unlimited."""
        sizes = [limit.largest for limit in self.limits if limit.after_step <= step]
        return min(sizes, default=None)

    def parts(self, batch: BatchT, step: int) -> list[BatchT]:
        """Return the batch in parts within the limit, in order, as far as it can be divided."""
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
        """Add and store a limit that other processes do not know; the last that is stored stays."""
        limit = self.learn(step, size)
        with suppress(TrainingError):
            self.write()
        return limit

    def write(self) -> None:
        """Store the limits.

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
        """Return what to log: nothing as long as everything fits."""
        limit = self.limit(step)
        return {} if limit is None else {"size_limit": float(limit)}


class PartTooLargeError(Exception, Generic[BatchT]):
    """Memory ran out in an attempt at an update; it is repeated with smaller parts.

    Args:
        part: What this process was computing; None: memory ran out in another process.
    """

    def __init__(self, part: BatchT | None) -> None:
        super().__init__()
        self.part = part


class OomRecovery(Generic[BatchT]):
    """Prepares another attempt at an update, with smaller parts.

    When memory runs out, in any process and pass, all processes drop their gradients and compute
    them again with smaller parts of micro-batches, as ``sizes`` limits them from this step on. The
    sums stay those of whole micro-batches; but dropout draws for each part anew, and batch
    normalization normalizes each by itself.

    An update that fits costs nothing more: at its end processes agree whether memory ran out, as
    they do on whether the loss is finite. A process where it ran out has sent zeros to the others,
    which average gradients while they compute them. With sharded weights there is no such way: the
    run ends, and takes smaller parts once it is resumed.

    Args:
        task: Training data and loss.
        model: The model.
        group: The processes that train it together.
        gradients: Those of the model.
        sizes: Which sizes fit.
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
        """Agree on a new limit, store it, and restore the state before the attempt.

        Args:
            failed: The part for which memory ran out in this process; None: it ran out elsewhere.
            step: Updates done before.

        Raises:
            TrainingError: A part can't be divided, or the limit can't be stored.
        """
        shortage = None if failed is None else (failed.size, len(failed.halves()))
        gathered = [json.loads(text) for text in self.group.gather(json.dumps(shortage))]
        shortages: list[tuple[int, int]] = [(size, parts) for size, parts in filter(None, gathered)]
        size = min(size for size, _ in shortages)
        if any(parts == 1 for _, parts in shortages):
            raise indivisible(size, f"step {step + 1}: ")
        limit = self.sizes.learn(step, size)
        with all_or_none(self.group, "the limit of micro-batch sizes"):
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

    def complete_collectives(self, replica: ParallelReplica, failed: BatchT, step: int) -> None:
        """Send zeros to the others, which do not know yet that memory ran out here.

        Raises:
            TrainingError: Weights are sharded, or the part can't be divided.
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
    """Return the error that not even a part of ``size`` fits; ``where`` is its prefix."""
    return TrainingError(
        f"{where}memory can't hold a part, of size {size:,}, that can't be divided: leave out "
        "sentences that long, or take smaller images or a smaller model"
    )


def smallest(batch: BatchT) -> BatchT:
    """Return a part of a batch that can't be divided: it fits if anything does."""
    while len(halves := batch.halves()) > 1:
        batch = halves[0]
    return batch
