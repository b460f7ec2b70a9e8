"""One update of the weights, in which every process of a run takes its part."""

from collections.abc import Sequence
from typing import Generic, NoReturn

from torch import nn

from seqtrans.errors import TrainingError
from seqtrans.protocols import BatchT, Task
from seqtrans.training.config import TrainingConfig
from seqtrans.training.contact import ElsewhereError
from seqtrans.training.distributed import ProcessShard
from seqtrans.training.finite import complaint, remedy
from seqtrans.training.freezing import Freezing
from seqtrans.training.gradients import read
from seqtrans.training.moving_average import MovingAverage
from seqtrans.training.optimizer import build_optimizer, set_rates
from seqtrans.training.parallel import Replica, shard_weights
from seqtrans.training.passes import Pass, Passes
from seqtrans.training.schedule import build_schedule
from seqtrans.training.sizes import Sizes
from seqtrans.training.state import TrainState
from seqtrans.training.window import Window


class Updater(Generic[BatchT]):
    """Everything that changes the weights of a model.

    Args:
        task: What to learn from.
        model: What learns; its weights are trained in place.
        config: How.
        shard: This process.
        sizes: What is known to fit into memory.

    Raises:
        TrainingError: A pattern of ``config`` matches nothing.
    """

    def __init__(
        self,
        task: Task[BatchT],
        model: nn.Module,
        config: TrainingConfig,
        shard: ProcessShard,
        sizes: Sizes | None = None,
    ) -> None:
        self.task, self.model, self.config, self.shard = task, model, config, shard
        shard_weights(model, config.processes, shard)
        self.freezing = Freezing(model, config.freeze, config.thaw)
        self.optimizer = build_optimizer(
            config.optimizer, model, config.learning_rates, self.freezing.learning()
        )
        self.schedule = build_schedule(
            config.schedule, config.optimizer.learning_rate, config.max_steps
        )
        self.average = MovingAverage(model, config.ema_decay) if config.ema_decay else None
        self.freezing.enter(0)
        self.passes = Passes(task, model, config, shard, sizes or Sizes(None))
        self.gradients = self.passes.gradients
        self.window, self.rate = Window(), 0.0

    @property
    def replica(self) -> Replica:
        """The model as training calls it."""
        return self.passes.replica

    def enter_epoch(self, epoch: int) -> None:
        """Freeze and thaw what is due: what learns is a function of the epoch."""
        if self.freezing.enter(epoch):
            self.passes.renew()
        self.freezing.train(epoch)

    def update(self, micro_batches: Sequence[BatchT], state: TrainState) -> None:
        """Take one optimizer step.

        The gradient is that of the mean over every target of every micro-batch of every rank,
        however unevenly they are spread, and in however many parts memory holds them.

        Args:
            micro_batches: Those of this process, of which there may be none.
            state: Its ``step`` is counted up, and the micro-batches of the epoch.

        Raises:
            TrainingError: A loss or the gradient is not finite, or memory can't hold the smallest
                part of a micro-batch; the weights are as before.
        """
        # Learning rate and randomness are functions of the step, so no checkpoint holds them.
        self.rate = self.schedule(state.step + 1) * state.lr_scale
        set_rates(self.optimizer, self.rate, state.step + 1)
        self.passes.begin()
        norm = None
        while norm is None:
            norm = self._compute_gradient(micro_batches, state)
        self.window.add_norm(norm)
        if self.config.clip_norm is not None and norm > self.config.clip_norm:
            self.gradients.scale(self.config.clip_norm / norm)
        self.optimizer.step()
        self.gradients.drop()
        state.step += 1
        if self.average:
            self.average.update(state.step)

    def _compute_gradient(self, micro_batches: Sequence[BatchT], state: TrainState) -> float | None:
        """Its norm; None where memory ran out in any process, so that all must try again.

        All processes raise the same way or none does; the gradient is common, a loss tells the
        cause.
        """
        found = self.passes.attempt(micro_batches, state.step)
        passes, failed = (found, None) if isinstance(found, list) else ([], found)
        norm, said, is_cause = self._judge([one for one in passes if one.counts], failed)
        own = (bool(said), is_cause, failed is not None, len(micro_batches))
        failures, causes, shortages, number = self.shard.sum([float(value) for value in own])
        if shortages:
            self.passes.take_smaller(failed, state.step)
            return None
        if failures:
            kind = TrainingError if is_cause or (said and not causes) else ElsewhereError
            self._refuse(kind, said, state)
        for one in passes:
            self.window.add(one.batch, one.sums, counts=one.counts)
        state.micro_batches_in_epoch += int(number)
        return norm

    def _judge(
        self, passes: Sequence[Pass[BatchT]], failed: BatchT | None
    ) -> tuple[float, str, bool]:
        """Norm of the gradient, what is wrong with it or a loss, and whether with a loss here."""
        if failed is not None:
            return 0.0, "", False
        values = read([*(one.sums.loss for one in passes), *self.gradients.norms()])
        norm = self.replica.norm(values[len(passes) :])
        losses, batches = values[: len(passes)], [one.batch for one in passes]
        return norm, complaint(losses, norm, batches), bool(complaint(losses, 0.0, batches))

    def _refuse(self, kind: type[TrainingError], said: str, state: TrainState) -> NoReturn:
        self.gradients.drop()
        where = f"epoch {state.epoch + 1}, update {state.updates_in_epoch + 1}"
        raise kind(
            f"step {state.step + 1} ({where}): {said or 'see another process'}; "
            f"nothing was updated or saved; {remedy(self.config, bf16=self.passes.bf16)}"
        )
