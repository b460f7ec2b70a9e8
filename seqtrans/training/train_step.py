"""One update of the weights, in which every process of a run takes its part."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, NoReturn

import torch
from torch import nn

from seqtrans.errors import TrainingError
from seqtrans.protocols import BatchT, LossSums, Task
from seqtrans.runtime.determinism import reproducible
from seqtrans.runtime.out_of_memory import is_out_of_memory
from seqtrans.runtime.precision import autocast, uses_bf16
from seqtrans.runtime.seeds import MicroBatchSeeds, start_generators
from seqtrans.training.config import TrainingConfig
from seqtrans.training.distributed.failure_reports import ElsewhereError
from seqtrans.training.distributed.process_group import TorchProcessGroup
from seqtrans.training.distributed.wrappers import DataParallel, Replica, replicate, shard_weights
from seqtrans.training.oom.oom_retry import OomRecovery, indivisible, smallest
from seqtrans.training.oom.size_limits import MicroBatchSizeLimits
from seqtrans.training.optim.ema import MovingAverage
from seqtrans.training.optim.freezing import Freezing
from seqtrans.training.optim.fused_adam import Stepper
from seqtrans.training.optim.gradients import Gradients, read
from seqtrans.training.optim.optimizer import build_optimizer, set_rates
from seqtrans.training.preflight import untouched
from seqtrans.training.reporting.metric_window import MetricAccumulator
from seqtrans.training.reporting.nonfinite import complaint, remedy
from seqtrans.training.state import TrainState


@dataclass(frozen=True)
class MicroBatchResult(Generic[BatchT]):
    """A part of a micro-batch that was learnt from."""

    batch: BatchT
    sums: LossSums
    is_counted: bool  # False: computed for nothing, so that other processes had company


class Updater(Generic[BatchT]):
    """Everything that changes the weights of a model.

    Args:
        task: What to learn from.
        model: What learns; its weights are trained in place.
        config: How.
        group: This process.
        sizes: What is known to fit into memory.

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
        shard_weights(model, config.processes, group)
        self.freezing = Freezing(model, config.freeze, config.thaw)
        self.optimizer = build_optimizer(
            config.optimizer, model, config.learning_rates, self.freezing.learning()
        )
        self._step = Stepper(self.optimizer)
        self.schedule = config.build_schedule()
        self.average = MovingAverage(model, config.ema_decay) if config.ema_decay else None
        self.freezing.enter(0)
        self.device = next(model.parameters()).device
        self.bf16 = uses_bf16(config.precision, self.device)
        self.gradients = Gradients(model)
        self.shortage = OomRecovery(
            task, model, group, self.gradients, sizes or MicroBatchSizeLimits(None)
        )
        self.window, self.rate = MetricAccumulator(), 0.0
        self._seeds = MicroBatchSeeds(config.seed)
        self.replica = self._replicate()

    def enter_epoch(self, epoch: int) -> None:
        """Freeze and thaw what is due: what learns is a function of the epoch."""
        if self.freezing.enter(epoch):
            self.replica = self._replicate()
        self.freezing.train(epoch)

    def _replicate(self) -> Replica:
        """The model for training by all processes, ready to sum gradients in a lasting order.

        DDP arranges gradients anew after its first backward pass, as they became ready. Sums of
        more than two processes depend on that in their last bits, so a resumed run would have
        others in its first update; hence one pass for nothing, of the same batch in every run.

        Raises:
            TrainingError: Memory can't hold even that, in any process.
        """
        self.replica = replicate(self.model, self.config, self.group)
        if isinstance(self.replica, DataParallel):
            batch = self._spare
            with untouched(self.model):
                fits = self._learn_from(batch, 0.0, shares=True) is not None
                if not fits:
                    self.shortage.stand_in(self.replica, batch, 0)
            if self.group.sum([float(not fits)])[0]:
                raise indivisible(batch.size)
        return self.replica

    def update(
        self,
        micro_batches: Sequence[BatchT],
        state: TrainState,
        wishes: Callable[[], Sequence[float]] = tuple,
    ) -> tuple[float, ...]:
        """Take one optimizer step.

        The gradient is that of the mean over every target of every micro-batch of every rank,
        however unevenly they are spread, and in however many parts memory holds them.

        Args:
            micro_batches: Those of this process, of which there may be none.
            state: Its ``step`` is counted up, and the micro-batches of the epoch.
            wishes: Numbers of this process, to be summed over all: that takes long by itself.

        Returns:
            Sums of the wishes.

        Raises:
            TrainingError: A loss or the gradient is not finite, or memory can't hold the smallest
                part of a micro-batch; the weights are as before.
        """
        # Rate and randomness are functions of the state, so no checkpoint holds them.
        self.rate = self.schedule(state.step + 1, state.seconds) * state.lr_scale
        set_rates(self.optimizer, self.rate, state.step + 1)
        self.shortage.begin()
        norm, heard = None, ()
        while norm is None:
            norm, heard = self._compute_gradient(micro_batches, state, wishes)
        self.window.add_norm(norm)
        if self.config.clip_norm is not None and norm > self.config.clip_norm:
            self.gradients.scale(self.config.clip_norm / norm)
        self._step()
        self.gradients.drop()
        state.step += 1
        if self.average:
            self.average.update(state.step)
        return heard

    def _compute_gradient(
        self,
        micro_batches: Sequence[BatchT],
        state: TrainState,
        wishes: Callable[[], Sequence[float]],
    ) -> tuple[float | None, tuple[float, ...]]:
        """Its norm, and sums of ``wishes``; None where memory ran out in any process.

        Then all must try again.

        All processes raise the same way or none does; the gradient is common, a loss tells the
        cause.
        """
        found = self._add_gradients(micro_batches, state.step)
        passes, failed = (found, None) if isinstance(found, list) else ([], found)
        norm, said, is_cause = self._judge([one for one in passes if one.is_counted], failed)
        own = (bool(said), is_cause, failed is not None, len(micro_batches), *wishes())
        sums = self.group.sum([float(value) for value in own])
        failures, causes, shortages, number, *heard = sums
        if shortages:
            self.shortage.shrink_and_retry(failed, state.step)
            if self.group.world_size > 1:  # DDP is in the middle of a backward pass that failed
                self.replica = self._replicate()
            return None, ()
        if failures:
            kind = TrainingError if is_cause or (said and not causes) else ElsewhereError
            self._refuse(kind, said, state)
        for one in passes:
            self.window.add(one.batch, one.sums, is_counted=one.is_counted)
        state.micro_batches_in_epoch += int(number)
        return norm, tuple(heard)

    def _add_gradients(
        self, micro_batches: Sequence[BatchT], step: int
    ) -> list[MicroBatchResult[BatchT]] | BatchT:
        """A forward and a backward pass over every part; or the part for which memory ran out here.

        Args:
            micro_batches: Those of this process, of which there may be none.
            step: Updates done before.
        """
        parts = list(self._parts(micro_batches, step))
        counts = [0.0] * self.group.world_size
        counts[self.group.rank] = float(len(parts))
        own_targets = sum(batch.num_targets for batch in micro_batches)
        num_targets, *counts = self.group.sum([float(own_targets), *counts])
        done: list[MicroBatchResult[BatchT]] = []
        number = int(max(counts))
        for i in range(number):
            is_spare = i >= len(parts)
            seed, batch = (0, self._spare) if is_spare else parts[i]
            start_generators(self.device, seed)
            weight = 0.0 if is_spare else self.group.world_size / num_targets
            sums = self._learn_from(batch, weight, shares=i == number - 1)
            if sums is None:
                self.shortage.stand_in(self.replica, batch, step)
                return batch
            done.append(MicroBatchResult(batch, sums, not is_spare))
        return done

    def _parts(self, micro_batches: Sequence[BatchT], step: int) -> Iterator[tuple[int, BatchT]]:
        """What is computed at once, and the seed of its randomness."""
        for i, batch in enumerate(micro_batches):
            number = i * self.group.world_size + self.group.rank
            for j, part in enumerate(self.shortage.sizes.parts(batch, step)):
                yield self._seeds[step, number, j], part

    @property
    def _spare(self) -> BatchT:
        """For a process that has one less than others: it learns nothing, but meets them.

        Where weights are shared out, every pass of one process fetches from all the others.
        """
        return smallest(self.task.largest_batch())

    def _learn_from(self, batch: BatchT, weight: float, *, shares: bool) -> LossSums | None:
        """One forward and one backward pass; None where memory ran out.

        On return the error is gone, and with it the frames that hold tensors.
        """
        try:
            with (
                reproducible(self.device, wanted=self.config.deterministic),
                self.replica.sharing(only_if=shares),
            ):
                with autocast(bf16=self.bf16, device=self.device):
                    sums = self.task.loss_sums(self.replica.module, batch.to(self.device))
                sums.loss.backward(torch.full_like(sums.loss, weight))
                return LossSums(sums.loss.detach(), sums.shown)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        return None

    def _judge(
        self, passes: Sequence[MicroBatchResult[BatchT]], failed: BatchT | None
    ) -> tuple[float, str, bool]:
        """Norm of the gradient, what is wrong with it or a loss, and whether with a loss here."""
        if failed is not None:
            return 0.0, "", False
        numbers = [*(one.sums.loss for one in passes), *self.gradients.norms()]
        self.group.await_device(self.device)
        values = read(numbers)
        norm = self.replica.norm(values[len(passes) :])
        losses, batches = values[: len(passes)], [one.batch for one in passes]
        said = complaint(losses, norm, batches)
        return norm, said, bool(said) and bool(complaint(losses, 0.0, batches))

    def _refuse(self, kind: type[TrainingError], said: str, state: TrainState) -> NoReturn:
        self.gradients.drop()
        where = f"epoch {state.epoch + 1}, update {state.updates_in_epoch + 1}"
        raise kind(
            f"step {state.step + 1} ({where}): {said or 'see another process'}; "
            f"nothing was updated or saved; {remedy(self.config, bf16=self.bf16)}"
        )
