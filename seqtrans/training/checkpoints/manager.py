"""Save and restore what the trainer holds."""

import json
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from torch import nn
from torch.optim import Optimizer

from seqtrans.errors import CheckpointError
from seqtrans.tensor_types import Tensor
from seqtrans.training.checkpoints import format as checkpoint
from seqtrans.training.checkpoints.provenance import Origins
from seqtrans.training.checkpoints.resume_checks import begun_anew, recounted
from seqtrans.training.checkpoints.run_directory import AVERAGED, RunDirectory, prepare_to_resume
from seqtrans.training.checkpoints.state_schema import state_from
from seqtrans.training.checkpoints.store import CheckpointStore
from seqtrans.training.checkpoints.weights import (
    average,
    fill,
    holding,
    named_moments,
    named_weights,
    other_formats,
    restore_moments,
)
from seqtrans.training.config import TrainingConfig
from seqtrans.training.distributed.process_group import TorchProcessGroup, all_or_none
from seqtrans.training.distributed.sharded_tensors import gathered
from seqtrans.training.optim.ema import Average, MovingAverage
from seqtrans.training.state import TrainState
from seqtrans.training.stopping import StoppingState

T = TypeVar("T")


class CheckpointManager:
    """Saves and restores model, optimizer and moving average; does nothing without a run.

    Of several processes the first writes; if it fails, all raise the error.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        moving: Average | None,
        config: TrainingConfig,
        run: RunDirectory | None,
        group: TorchProcessGroup,
        origins: Origins,
    ) -> None:
        self.model, self.optimizer, self.moving = model, optimizer, moving
        self.config, self.run, self.group, self.origins = config, run, group, origins
        self.store = CheckpointStore(run, config, origins) if run else None
        self._saved_step = 0

    def save(self, state: TrainState, metrics: Mapping[str, float]) -> None:
        """Write a checkpoint, or add ``metrics`` to the one of this step.

        Raises:
            TrainingError: It can't be written; on every rank.
        """
        store = self.store
        is_new = self._saved_step != state.step
        tensors = self.tensors() if is_new else {}
        with all_or_none(self.group, "a checkpoint"):
            if store and self.group.rank == 0 and is_new:
                store.save(state, metrics, tensors, self._others())
            elif store and self.group.rank == 0 and metrics:
                store.add_metrics(state, metrics)
        self._saved_step = state.step

    def resume(self) -> TrainState | None:
        """Restore the newest good checkpoint; return None if there is none yet.

        Raises:
            CheckpointError: None is good, or it does not fit.
            TrainingError: The run directory can't be written.
        """
        if self.run is None:
            return None
        newest = prepare_to_resume(self.run) if self.group.rank == 0 else None
        # The others read the checkpoint only after the first has tidied up.
        step = self._broadcast(newest[0] if newest else None)
        if step is None:
            return None
        path = self.run.at(step)
        plain = newest[1] if newest else checkpoint.read_training(path)
        self._restore(path, plain["optimizer"])
        self._saved_step = step
        if self.store and self.group.rank == 0:
            self.store.tidy(step)  # a run killed after a save had no time for it
        state = state_from(plain)
        if state.micro_batches_in_epoch == 0:  # as in checkpoints that did not hold it yet
            per_update = self.config.micro_batches(self.group.world_size)
            state.micro_batches_in_epoch = state.updates_in_epoch * per_update
        return self._recount(state, plain)

    def _recount(self, state: TrainState, plain: Mapping[str, Any]) -> TrainState:
        """Return the state, reset where it is no longer valid; the first process logs that."""
        if self.store and self.group.rank == 0:
            records, config = self.store.records(), self.config.stopping
            state.stopping = recounted(state.stopping, plain, records, config, self.origins)
            state = begun_anew(state, plain, self.origins)
        values: dict[str, Any] = self._broadcast(asdict(state))
        stopping = StoppingState(**values.pop("stopping"))
        return TrainState(**values, stopping=stopping)

    def _restore(self, path: Path, optimizer: str) -> None:
        """Fill model, optimizer and moving average from a checkpoint, made with ``optimizer``."""
        if optimizer != self.config.optimizer.kind:
            raise CheckpointError(
                f"{path} was trained with optimizer '{optimizer}', "
                f"not '{self.config.optimizer.kind}': set training.optimizer.kind to that, or "
                "begin another run with init_from"
            )
        fill(self.model, checkpoint.read_tensors(path, checkpoint.MODEL), str(path))
        moments = checkpoint.read_tensors(path, checkpoint.OPTIMIZER)
        restore_moments(self.model, self.optimizer, moments, str(path))
        if isinstance(self.moving, MovingAverage):
            self.moving.restore(checkpoint.read_tensors(path, checkpoint.AVERAGE), str(path))

    def steps_to_average(self) -> list[int]:
        """Return the steps of the checkpoints to average at the end; none if not configured.

        Every process must call it.
        """
        return self._broadcast([] if self.group.rank else self._steps_to_average())

    def _steps_to_average(self) -> list[int]:
        best, last = self.config.checkpoints.average_best, self.config.checkpoints.average_last
        if self.store is None or self.run is None or (best or last) is None:
            return []
        steps = self.store.best_steps(best) if best else self.store.last_steps(last or 0)
        try:
            done = checkpoint.read_state(self.run.checkpoints / AVERAGED).get("steps")
        except CheckpointError:
            done = None
        return [] if len(steps) < 2 or steps == done else steps

    @contextmanager
    def averaged(self, steps: list[int]) -> Generator[dict[str, Tensor]]:
        """Let the model hold the mean of the checkpoints of ``steps`` within this context."""
        assert self.run is not None  # noqa: S101 - there were steps to average
        weights = average([self.run.at(step) for step in steps])
        with holding(self.model, weights):
            yield weights

    def save_averaged(
        self, steps: list[int], metrics: Mapping[str, float], weights: dict[str, Tensor]
    ) -> None:
        """Write the mean of the checkpoints of ``steps`` as a checkpoint.

        Raises:
            TrainingError: It can't be written; on every rank.
        """
        with all_or_none(self.group, "a checkpoint"):
            if self.store and self.group.rank == 0:
                self.store.save_averaged(steps, metrics, weights, other_formats(self.model))

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Return all tensors of a checkpoint, unsharded, by file and name.

        Only the first process gets them; if weights are sharded, every one must call it.
        """
        weights = named_weights(self.model)
        tensors = {
            checkpoint.MODEL: weights,
            checkpoint.OPTIMIZER: named_moments(self.model, self.optimizer),
        }
        if self.moving:
            tensors[checkpoint.AVERAGE] = weights | self.moving.named()
        keep, wait = self.group.rank == 0, self.group.await_device
        return {file: gathered(named, wait, keep=keep) for file, named in tensors.items()}

    def _others(self) -> checkpoint.Writers:
        """Return writers of the model's own formats, with the weights to use it with."""

        def with_averages(write: Callable[[Path], None], path: Path) -> None:
            with self.moving.applied() if self.moving else nullcontext():
                write(path)

        return {n: partial(with_averages, w) for n, w in other_formats(self.model).items()}

    def _broadcast(self, value: T) -> T:
        """Return the value of the first process, as hosts may see a shared folder differently."""
        return json.loads(self.group.gather(json.dumps(value))[0])
