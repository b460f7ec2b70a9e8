"""One update by several processes: they share its micro-batches, and agree before the step."""

import math
from collections.abc import Sequence

from torch import nn

from seqtrans.errors import TrainingError
from seqtrans.protocols import BatchT, Task
from seqtrans.training.config import TrainingConfig
from seqtrans.training.distributed.failure_reports import ElsewhereError
from seqtrans.training.distributed.process_group import TorchProcessGroup
from seqtrans.training.distributed.wrappers import DataParallel, ParallelReplica, replicate
from seqtrans.training.oom import MicroBatchSizeLimits, PartTooLargeError, indivisible, smallest
from seqtrans.training.optim.optimizer import read
from seqtrans.training.preflight import untouched
from seqtrans.training.reporting.nonfinite import describe
from seqtrans.training.state import TrainState
from seqtrans.training.train_step import Part, PartResult, StopVotes, Updater


def build_updater(
    task: Task[BatchT],
    model: nn.Module,
    config: TrainingConfig,
    group: TorchProcessGroup,
    sizes: MicroBatchSizeLimits,
) -> Updater[BatchT]:
    """Build the updater for a single process, or for several. See ``Updater``."""
    kind = Updater if group.world_size == 1 else ParallelUpdater
    return kind(task, model, config, group, sizes)


class ParallelUpdater(Updater[BatchT]):
    """Updates the weights of a model that several processes train. See ``Updater``."""

    @property
    def replica(self) -> ParallelReplica:
        """The model for training by all processes; all must ask for it for the first time alike."""
        if self._replica is None:
            self._replica = self._replicate()
        return self._replica

    def _replicate(self) -> ParallelReplica:
        """Make the model ready to sum gradients in an order that stays the same.

        DDP reorders gradients after its first backward pass, as they became ready. Sums over more
        than two processes depend on the order in their last bits, so a resumed run would differ in
        its first update; hence one pass without effect, of the same batch in every run.

        Raises:
            TrainingError: Memory can't hold even that batch, in any process.
        """
        replica = replicate(self.model, self.config, self.group)
        if isinstance(replica, DataParallel):
            failed = None
            with untouched(self.model):
                try:
                    with replica.gradient_sync(enabled=True):
                        self._forward_backward(replica.module, self._padding, 0.0)
                except PartTooLargeError as error:
                    failed = error.part
                if failed is not None:
                    self.recovery.complete_collectives(replica, self._padding.batch, 0)
            if self.group.sum([float(failed is not None)])[0]:
                raise indivisible(self._padding.batch.size)
            replica.rebuild_buckets()  # not in the next forward pass, which a process may not reach
        return replica

    def _divide(
        self, micro_batches: Sequence[BatchT], step: int
    ) -> tuple[Sequence[Part[BatchT]], float]:
        """Return the parts that this process computes, and the number of targets in all processes.

        With sharded weights, every pass of one process fetches weights from all others, so all
        make equally many passes.
        """
        parts, num_targets = super()._divide(micro_batches, step)
        counts = [0.0] * self.group.world_size
        counts[self.group.rank] = float(len(parts))
        num_targets, *counts = self.group.sum([num_targets, *counts])
        missing = int(max(counts)) - len(parts)
        return [*parts, *[self._padding] * missing], num_targets

    @property
    def _padding(self) -> Part[BatchT]:
        """A pass without effect, for a process that has fewer parts than others."""
        return Part(smallest(self.task.largest_batch()), seed=0, is_padding=True)

    def _backward(self, parts: Sequence[Part[BatchT]], weight: float) -> Sequence[PartResult]:
        """Compute the gradient of all parts; average it over the processes in the last pass."""
        results: list[PartResult] = []
        for part in parts:
            with self.replica.gradient_sync(enabled=len(results) + 1 == len(parts)):
                results.append(self._forward_backward(self.replica.module, part, weight))
        return results

    def _read(self, results: Sequence[PartResult]) -> tuple[Sequence[float], float]:
        """Return losses and the norm of the gradient, once the others let a GPU be ready."""
        numbers = [*(part.sums.loss for part in results), *self.gradients.norms()]
        self.group.await_device(self.device)
        values = read(numbers)
        return values[: len(results)], self.replica.norm(values[len(results) :])

    def _agree(
        self,
        votes: Sequence[float],
        results: Sequence[PartResult],
        losses: Sequence[float],
        norm: float,
        state: TrainState,
    ) -> Sequence[float]:
        """Return sums of ``votes`` over all processes, if all can make the update.

        All processes raise an error or none does. They share the gradient, so that a process whose
        loss is not finite knows the cause.

        Raises:
            PartTooLargeError: Memory ran out in another process.
            TrainingError: A loss, in any process, or the gradient is not finite.
        """
        is_cause = not all(map(math.isfinite, losses))
        is_failure = is_cause or not math.isfinite(norm)
        flags = is_failure, is_cause, False
        failures, causes, shortages, *sums = self.group.sum([*map(float, flags), *votes])
        if shortages:
            raise PartTooLargeError(None)
        if failures:
            error = TrainingError if is_cause or (is_failure and not causes) else ElsewhereError
            problem = describe(losses, norm, [part.num_targets for part in results])
            raise self._refuse(state, problem or "see another process", error)
        return sums

    def _recover(
        self,
        failed: BatchT | None,
        micro_batches: Sequence[BatchT],
        state: TrainState,
        stop_votes: StopVotes,
    ) -> None:
        """Answer what the others wait for, and prepare another attempt with them."""
        if failed is not None:
            self.recovery.complete_collectives(self.replica, failed, state.step)
            self.group.sum([0.0, 0.0, 1.0, float(len(micro_batches)), *stop_votes()])
        self.recovery.shrink_parts(failed, state.step)
        self._replica = None  # DDP is in the middle of a backward pass that failed
