"""One update of the weights: forward and backward passes, clip, step."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic

import torch
from torch import nn

from seqtrans.errors import TrainingError
from seqtrans.protocols import BatchT, LossSums, Task
from seqtrans.runtime.device import autocast, uses_bf16
from seqtrans.runtime.out_of_memory import is_out_of_memory
from seqtrans.runtime.seeds import MicroBatchSeeds, start_generators
from seqtrans.training.config import TrainingConfig
from seqtrans.training.distributed.failure_reports import ElsewhereError
from seqtrans.training.distributed.process_group import TorchProcessGroup
from seqtrans.training.distributed.wrappers import DataParallel, Replica, replicate, shard_weights
from seqtrans.training.oom import (
    MicroBatchSizeLimits,
    OomRecovery,
    PartTooLargeError,
    indivisible,
    smallest,
)
from seqtrans.training.optim.ema import MovingAverage
from seqtrans.training.optim.freezing import Freezing
from seqtrans.training.optim.optimizer import Gradients, Stepper, build_optimizer, read, set_rates
from seqtrans.training.preflight import untouched
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
    """Everything that changes the weights of a model.

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
        self.optimizer = build_optimizer(
            config.optimizer, model, config.learning_rates, self.freezing.learning()
        )
        self._optimizer_step = Stepper(self.optimizer)
        self.schedule = config.build_schedule(task.updates_in_epoch)
        self.average = MovingAverage(model, config.ema_decay) if config.ema_decay else None
        self.freezing.enter(0)
        self.device = next(model.parameters()).device
        self.bf16 = uses_bf16(config.precision, self.device)
        self._autocast = autocast(bf16=self.bf16, device=self.device)
        self.gradients = Gradients(model)
        self.sizes = sizes or MicroBatchSizeLimits(None)
        self.recovery = OomRecovery(task, model, group, self.gradients, self.sizes)
        self._seeds = MicroBatchSeeds(config.seed)
        self._replica: Replica | None = None

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
            if failed is not None:
                self.recovery.complete_collectives(self.replica, failed, state.step)
                self.group.sum([0.0, 0.0, 1.0, float(len(micro_batches)), *stop_votes()])
            self.recovery.shrink_parts(failed, state.step)
            if self.group.world_size > 1:  # DDP is in the middle of a backward pass that failed
                self._replica = None

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
        results: list[PartResult] = []
        for part in parts:
            with self.replica.gradient_sync(enabled=len(results) + 1 == len(parts)):
                results.append(self._forward_backward(self.replica, part, weight))
        losses, norm = self._read(results)
        votes = len(micro_batches), *stop_votes()
        number, *summed_votes = self._agree(votes, results, losses, norm, state)
        if self.config.clip_norm is not None and norm > self.config.clip_norm:
            self.gradients.scale(self.config.clip_norm / norm)
        self._optimizer_step()
        self.gradients.drop()
        state.step += 1
        state.micro_batches_in_epoch += int(number)
        if self.average:
            self.average.update(state.step)
        return StepResult(results, norm, rate, tuple(summed_votes))

    def enter_epoch(self, epoch: int) -> None:
        """Freeze and thaw parameters: which learn is a function of the epoch."""
        if self.freezing.enter(epoch):
            self._replica = None
        self.freezing.train(epoch)

    @property
    def replica(self) -> Replica:
        """The model for training by all processes; all must ask for it for the first time alike."""
        if self._replica is None:
            self._replica = self._replicate()
        return self._replica

    def _replicate(self) -> Replica:
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
                        self._forward_backward(replica, self._padding, 0.0)
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
        divides = bool(self.sizes.limits)  # as memory ran out before
        parts = [
            Part(part, self._seeds[step, i * self.group.world_size + self.group.rank, j])
            for i, batch in enumerate(micro_batches)
            for j, part in enumerate(self.sizes.parts(batch, step) if divides else [batch])
        ]
        counts = [0.0] * self.group.world_size
        counts[self.group.rank] = float(len(parts))
        own_targets = sum(batch.num_targets for batch in micro_batches)
        num_targets, *counts = self.group.sum([float(own_targets), *counts])
        while len(parts) < max(counts):
            parts.append(self._padding)
        return parts, num_targets

    @property
    def _padding(self) -> Part[BatchT]:
        """A pass without effect, for a process that has fewer parts than others."""
        return Part(smallest(self.task.largest_batch()), seed=0, is_padding=True)

    def _forward_backward(self, replica: Replica, part: Part[BatchT], weight: float) -> PartResult:
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
                sums = self.task.loss_sums(replica.module, on_device)
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
            self.gradients.drop()
            error = TrainingError if is_cause or (is_failure and not causes) else ElsewhereError
            counts = [part.num_targets for part in results]
            problem = describe(losses, norm, counts) or "see another process"
            where = f"epoch {state.epoch + 1}, update {state.updates_in_epoch + 1}"
            raise error(
                f"step {state.step + 1} ({where}): {problem}; nothing was updated or saved; "
                f"{advice(self.config, bf16=self.bf16)}"
            )
        return sums
