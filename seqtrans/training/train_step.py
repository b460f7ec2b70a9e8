"""One update of the weights: forward and backward passes, clip, step."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic

import torch
from torch import nn
from torch.optim import Optimizer

from seqtrans.errors import TrainingError
from seqtrans.protocols import BatchT, LossSums, Task
from seqtrans.runtime.device import autocast, uses_bf16
from seqtrans.runtime.out_of_memory import is_out_of_memory
from seqtrans.runtime.seeds import MicroBatchSeeds, start_generators
from seqtrans.training.config import TrainingConfig
from seqtrans.training.distributed.process_group import TorchProcessGroup
from seqtrans.training.distributed.single_process import SingleReplica
from seqtrans.training.distributed.wrappers import Replica, compiled, shard_weights
from seqtrans.training.oom import MicroBatchSizeLimits, OomRecovery, PartTooLargeError
from seqtrans.training.optim.ema import Average, MovingAverage
from seqtrans.training.optim.freezing import Freezing
from seqtrans.training.optim.optimizer import Gradients, Stepper, build_optimizer, read, set_rates
from seqtrans.training.optim.optimizer_config import ScheduleFreeAdamWConfig
from seqtrans.training.optim.schedule_free import ScheduleFreeAverage
from seqtrans.training.reporting.nonfinite import advice, describe
from seqtrans.training.state import TrainState

StopVotes = Callable[[], Sequence[float]]
"""Numbers of this process, summed over all together with others: one sum takes less time."""


@dataclass(frozen=True)
class Part(Generic[BatchT]):
    """What is computed at once: a micro-batch, or a part of one that is too large for memory."""

    batch: BatchT
    seed: int  # of its randomness
    is_padding: bool = False  # without effect; matches a pass of another process


@dataclass(frozen=True)
class PartResult:
    """The loss of a part of a micro-batch, summed; all of it is 0 where the part is padding."""

    sums: LossSums  # detached
    num_targets: int
    num_padded: int


@dataclass(frozen=True)
class StepResult:
    """The losses of an update, and what else is logged of it."""

    parts: Sequence[PartResult]  # of this process
    gradient_norm: float  # before clipping
    learning_rate: float
    summed_votes: tuple[float, ...]


class Updater(Generic[BatchT]):
    """Updates the weights of a model that one process trains; several: see ``ParallelUpdater``.

    Args:
        task: Training data and loss.
        model: The model; its weights are trained in place.
        config: The training configuration.
        group: The processes that train the model together.
        sizes: Which sizes fit into memory.

    Raises:
        TrainingError: A pattern of ``config`` matches nothing.
    """

    def __init__(
        self,
        task: Task[BatchT],
        model: nn.Module,
        config: TrainingConfig,
        group: TorchProcessGroup,
        sizes: MicroBatchSizeLimits | None = None,
    ) -> None:
        self.task, self.model, self.config, self.group = task, model, config, group
        if config.processes.shards(group.world_size):
            shard_weights(model, config.processes, group)
        self.freezing = Freezing(model, config.freeze, config.thaw)
        self.device = next(model.parameters()).device
        self.bf16 = uses_bf16(config.precision, self.device)
        learning = self.freezing.learning()
        self.optimizer = build_optimizer(
            config.optimizer, model, config.learning_rates, learning, bf16=self.bf16
        )
        self._optimizer_step = Stepper(self.optimizer)
        self.schedule = config.build_schedule(task.updates_in)
        self.average = _build_average(config, model, self.optimizer)
        self.freezing.enter(0)
        self._autocast = autocast(bf16=self.bf16, device=self.device)
        self.gradients = Gradients(model)
        self.sizes = sizes or MicroBatchSizeLimits(None)
        self.recovery = OomRecovery(task, model, group, self.gradients, self.sizes)
        self._seeds = MicroBatchSeeds(config.seed)
        self._replica: Any = None

    def update(
        self, micro_batches: Sequence[BatchT], state: TrainState, stop_votes: StopVotes = tuple
    ) -> StepResult:
        """Take one optimizer step, in as many attempts and parts as memory requires.

        The gradient is that of the mean loss over every target of every micro-batch of every rank,
        however unevenly they are distributed, and into however many parts they are divided.

        Args:
            micro_batches: Those of this process, maybe none.
            state: Its ``step`` and the micro-batches of the epoch are counted up.
            stop_votes: Called once the gradient is there; summed over all processes.

        Raises:
            TrainingError: A loss or the gradient is not finite, or memory can't hold the smallest
                part of a micro-batch; the weights are as before.
        """
        if self.recovery.buffers:
            self.recovery.buffers.save()
        while True:
            try:
                return self.train_step(micro_batches, state, stop_votes)
            except PartTooLargeError as error:
                failed: BatchT | None = error.part
            # Only here the error is gone, and with it the frames that hold tensors.
            self._recover(failed, micro_batches, state, stop_votes)

    def train_step(
        self, micro_batches: Sequence[BatchT], state: TrainState, stop_votes: StopVotes
    ) -> StepResult:
        """Try an update: forward and backward passes, clip, step. See ``update``.

        Raises:
            PartTooLargeError: Memory ran out in any process; weights and ``state`` are as before.
        """
        # Rate and randomness are functions of the state, so no checkpoint holds them.
        rate = self.schedule(state.step + 1, state.seconds) * state.lr_scale
        set_rates(self.optimizer, rate, state.step + 1)
        parts, num_targets = self._divide(micro_batches, state.step)
        weight = self.group.world_size / num_targets  # gradients are averaged over processes
        results = self._backward(parts, weight)
        losses, norm = self._read(results)
        votes = len(micro_batches), *stop_votes()
        number, *summed_votes = self._agree(votes, results, losses, norm, state)
        if self.config.clip_norm is not None and norm > self.config.clip_norm:
            self.gradients.scale(self.config.clip_norm / norm)
        self._optimizer_step()
        self.gradients.drop()
        state.step += 1
        state.micro_batches_in_epoch += int(number)
        if isinstance(self.average, MovingAverage):
            self.average.update(state.step)
        return StepResult(results, norm, rate, tuple(summed_votes))

    def enter_epoch(self, epoch: int) -> None:
        """Freeze and thaw parameters: which learn is a function of the epoch."""
        if self.freezing.enter(epoch):
            self._replica = None
        self.freezing.train(epoch)

    @property
    def replica(self) -> Replica:
        """The model as training calls it."""
        if self._replica is None:
            self._replica = SingleReplica(compiled(self.model, self.config))
        return self._replica

    def _divide(
        self, micro_batches: Sequence[BatchT], step: int
    ) -> tuple[Sequence[Part[BatchT]], float]:
        """Return the parts of micro-batches to compute at once, and the number of targets."""
        divides = bool(self.sizes.limits)  # as memory ran out before
        parts = [
            Part(part, self._seeds[step, i * self.group.world_size + self.group.rank, j])
            for i, batch in enumerate(micro_batches)
            for j, part in enumerate(self.sizes.parts(batch, step) if divides else [batch])
        ]
        return parts, float(sum(batch.num_targets for batch in micro_batches))

    def _backward(self, parts: Sequence[Part[BatchT]], weight: float) -> Sequence[PartResult]:
        """Compute the gradient of all parts."""
        return [self._forward_backward(self.replica.module, part, weight) for part in parts]

    def _forward_backward(self, model: nn.Module, part: Part[BatchT], weight: float) -> PartResult:
        """Add the gradient of a part, times ``weight``, to the gradients.

        Raises:
            PartTooLargeError: Memory ran out. The original error is gone, and with it the frames
                that hold tensors.
        """
        start_generators(self.device, part.seed)
        batch = part.batch
        try:
            on_device = batch if self.device.type == "cpu" else batch.to(self.device)
            with self._autocast:
                sums = self.task.loss_sums(model, on_device)
            sums.loss.backward(torch.full_like(sums.loss, 0.0 if part.is_padding else weight))
            loss, shown = sums.loss.detach(), sums.shown
            if part.is_padding:
                zeros = {name: torch.zeros_like(value) for name, value in shown.items()}
                return PartResult(LossSums(torch.zeros_like(loss), zeros), 0, 0)
            return PartResult(LossSums(loss, shown), batch.num_targets, batch.num_padded)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        raise PartTooLargeError(batch)

    def _read(self, results: Sequence[PartResult]) -> tuple[Sequence[float], float]:
        """Return losses and the norm of the gradient; nothing else in an update waits for a GPU."""
        values = read([*(part.sums.loss for part in results), *self.gradients.norms()])
        return values[: len(results)], math.hypot(*values[len(results) :])

    def _agree(
        self,
        votes: Sequence[float],
        results: Sequence[PartResult],
        losses: Sequence[float],
        norm: float,
        state: TrainState,
    ) -> Sequence[float]:
        """Return ``votes``, if the update can be made.

        Raises:
            TrainingError: A loss or the gradient is not finite.
        """
        if not all(map(math.isfinite, (*losses, norm))):
            problem = describe(losses, norm, [part.num_targets for part in results])
            raise self._refuse(state, problem)
        return votes

    def _refuse(
        self, state: TrainState, problem: str, error: type[TrainingError] = TrainingError
    ) -> TrainingError:
        """Drop the gradients and return the error that an update can't be made."""
        self.gradients.drop()
        where = f"epoch {state.epoch + 1}, update {state.updates_in_epoch + 1}"
        return error(
            f"step {state.step + 1} ({where}): {problem}; nothing was updated or saved; "
            f"{advice(self.config, bf16=self.bf16)}"
        )

    def _recover(
        self,
        failed: BatchT | None,
        micro_batches: Sequence[BatchT],  # noqa: ARG002 - of interest to other processes
        state: TrainState,
        stop_votes: StopVotes,  # noqa: ARG002
    ) -> None:
        """Prepare another attempt after memory ran out."""
        self.recovery.shrink_parts(failed, state.step)


def _build_average(
    config: TrainingConfig, model: nn.Module, optimizer: Optimizer
) -> Average | None:
    if isinstance(config.optimizer, ScheduleFreeAdamWConfig):
        return ScheduleFreeAverage(model, optimizer)
    return MovingAverage(model, config.ema_decay) if config.ema_decay else None
