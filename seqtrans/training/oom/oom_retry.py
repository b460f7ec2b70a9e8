"""What processes do when memory runs out in any of them."""

import json
import logging
from typing import Any, Generic

from torch import nn

from seqtrans.errors import TrainingError
from seqtrans.protocols import BatchT, Task
from seqtrans.runtime.out_of_memory import release
from seqtrans.training.distributed.process_group import TorchProcessGroup, all_or_none
from seqtrans.training.distributed.wrappers import Replica
from seqtrans.training.oom.buffer_snapshot import Buffers
from seqtrans.training.oom.size_limits import MicroBatchSizeLimits
from seqtrans.training.optim.gradients import Gradients

logger = logging.getLogger(__name__)


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
        self._buffers = Buffers(model)

    def begin(self) -> None:
        """An update is to come, of as many attempts as it takes."""
        self._buffers.note()

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
        self._buffers.restore()

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
