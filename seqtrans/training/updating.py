"""One update of the weights, in which every process of a run takes its part."""

import math
from collections.abc import Iterator, Sequence
from typing import Generic

import torch
from torch import nn

from seqtrans.errors import TrainingError
from seqtrans.protocols import BatchT, LossSums, Task
from seqtrans.shapes import Tensor
from seqtrans.training.checks import untouched
from seqtrans.training.config import TrainingConfig
from seqtrans.training.contact import ElsewhereError
from seqtrans.training.distributed import ProcessShard
from seqtrans.training.finite import complaint, remedy
from seqtrans.training.freezing import Freezing
from seqtrans.training.gradients import Gradients, read
from seqtrans.training.moving_average import MovingAverage
from seqtrans.training.optimizer import build_optimizer, set_rates
from seqtrans.training.parallel import Replica, Replicated, replicate, shard_weights
from seqtrans.training.precision import autocast, uses_bf16
from seqtrans.training.randomness import MicroBatchSeeds, start_generators
from seqtrans.training.schedule import build_schedule
from seqtrans.training.state import TrainState
from seqtrans.training.window import Window


class Updater(Generic[BatchT]):
    """Everything that changes the weights of a model.

    Args:
        task: What to learn from.
        model: What learns; its weights are trained in place.
        config: How.
        shard: This process.

    Raises:
        TrainingError: A pattern of ``config`` matches nothing.
    """

    def __init__(
        self, task: Task[BatchT], model: nn.Module, config: TrainingConfig, shard: ProcessShard
    ) -> None:
        self.task, self.model, self.config, self.shard = task, model, config, shard
        self.device = next(model.parameters()).device
        self.bf16 = uses_bf16(config.precision, self.device)
        shard_weights(model, config.processes, shard)
        self.freezing = Freezing(model, config.freeze, config.thaw)
        self.optimizer = build_optimizer(
            config.optimizer, model, config.learning_rates, self.freezing.learning()
        )
        self.gradients = Gradients(model)
        self.schedule = build_schedule(
            config.schedule, config.optimizer.learning_rate, config.max_steps
        )
        self.average = MovingAverage(model, config.ema_decay) if config.ema_decay else None
        self.freezing.enter(0)
        self.replica = self._replicate()
        self.window, self.rate = Window(), 0.0
        self._seeds = MicroBatchSeeds(config.seed)

    def enter_epoch(self, epoch: int) -> None:
        """Freeze and thaw what is due: what learns is a function of the epoch."""
        if self.freezing.enter(epoch):
            self.replica = self._replicate()
        self.freezing.train(epoch)

    def update(self, micro_batches: Sequence[BatchT], state: TrainState) -> None:
        """Take one optimizer step.

        The gradient is that of the mean over every target of every micro-batch of every rank,
        however unevenly they are spread. Processes average gradients, hence ``* world``.

        Args:
            micro_batches: Those of this process, of which there may be none.
            state: Its ``step`` is counted up, and the micro-batches of the epoch.

        Raises:
            TrainingError: A loss or the gradient is not finite; the weights are as before.
        """
        # Learning rate and randomness are functions of the step, so no checkpoint holds them.
        self.rate = self.schedule(state.step + 1) * state.lr_scale
        set_rates(self.optimizer, self.rate, state.step + 1)
        own = [float(sum(b.num_targets for b in micro_batches)), float(len(micro_batches))]
        num_targets, number = self.shard.sum(own)
        losses = list(self._add_gradients(micro_batches, state.step, num_targets, number))
        values = read([*losses, *self.gradients.norms()])
        norm = self.replica.norm(values[len(losses) :])
        self._refuse(values[: len(losses)], norm, micro_batches, state)
        self.window.add_norm(norm)
        if self.config.clip_norm is not None and norm > self.config.clip_norm:
            self.gradients.scale(self.config.clip_norm / norm)
        self.optimizer.step()
        self.gradients.drop()
        state.step += 1
        state.micro_batches_in_epoch += int(number)
        if self.average:
            self.average.update(state.step)

    def _replicate(self) -> Replica:
        """The model for training by all processes, ready to sum gradients in a lasting order.

        DDP arranges gradients anew after its first backward pass, as they became ready. Sums of
        more than two processes depend on that in their last bits, so a resumed run would have
        others in its first update; hence one pass for nothing, of the same batch in every run.
        """
        replica = replicate(self.model, self.config, self.shard)
        if isinstance(replica, Replicated):
            with untouched(self.model):
                loss = self._loss_sums(self.task.largest_batch(), replica).loss
                loss.backward(torch.zeros_like(loss))
        return replica

    def _add_gradients(
        self, micro_batches: Sequence[BatchT], step: int, num_targets: float, number: float
    ) -> Iterator[Tensor]:
        """Loss of every micro-batch, each after its backward pass.

        Args:
            micro_batches: Those of this process.
            step: Updates done before.
            num_targets: Of those of all processes.
            number: Of those of all processes.
        """
        passes = math.ceil(number / self.shard.world)
        for i in range(passes):
            is_spare = i >= len(micro_batches)
            batch = self._spare(micro_batches) if is_spare else micro_batches[i]
            start_generators(self.device, self._seeds[step, i * self.shard.world + self.shard.rank])
            with self.replica.sharing(only_if=i == passes - 1):
                sums = self._loss_sums(batch, self.replica)
                weight = 0.0 if is_spare else self.shard.world / num_targets
                sums.loss.backward(torch.full_like(sums.loss, weight))
            self.window.add(batch, sums, counts=not is_spare)
            if not is_spare:
                yield sums.loss.detach()

    def _spare(self, micro_batches: Sequence[BatchT]) -> BatchT:
        """For a process that has one less than others: it learns nothing, but meets them.

        Where weights are shared out, every pass of one process fetches from all the others.
        """
        return micro_batches[0] if micro_batches else self.task.largest_batch()

    def _loss_sums(self, batch: BatchT, replica: Replica) -> LossSums:
        with autocast(bf16=self.bf16, device=self.device):
            return self.task.loss_sums(replica.module, batch.to(self.device))

    def _refuse(
        self, losses: Sequence[float], norm: float, batches: Sequence[BatchT], state: TrainState
    ) -> None:
        """Raise in all processes or in none; the gradient is common, a loss tells the cause."""
        said = complaint(losses, norm, batches)
        is_cause = bool(complaint(losses, 0.0, batches))
        failures, causes = self.shard.sum([float(bool(said)), float(is_cause)])
        if not failures:
            return
        self.gradients.drop()
        where = f"epoch {state.epoch + 1}, update {state.updates_in_epoch + 1}"
        kind = TrainingError if is_cause or (said and not causes) else ElsewhereError
        raise kind(
            f"step {state.step + 1} ({where}): {said or 'see another process'}; "
            f"nothing was updated or saved; {remedy(self.config, bf16=self.bf16)}"
        )
