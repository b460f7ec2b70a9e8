"""The checkpoints of a run: written, pointed at, and deleted when superseded."""

import errno
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from seqtrans.errors import TrainingError
from seqtrans.tensor_types import Tensor
from seqtrans.training.checkpoints import format as checkpoint
from seqtrans.training.checkpoints.provenance import Origins, differing
from seqtrans.training.checkpoints.run_directory import AVERAGED, RunDirectory
from seqtrans.training.checkpoints.state_schema import plain_state, state_from
from seqtrans.training.config import CheckpointsConfig, TrainingConfig
from seqtrans.training.state import TrainState
from seqtrans.training.stopping import StoppingConfig

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Record:
    """What is known of one checkpoint."""

    step: int
    value: float | None = None  # of the stopping metric; None: not validated
    ends_epoch: bool = False
    loss: float | None = None  # of the same validation
    measured: Mapping[str, str] = field(default_factory=dict[str, str])  # see ``Origins``


def best_first(records: Sequence[Record], stopping: StoppingConfig) -> list[Record]:
    """Return validated checkpoints, best first; among equals, the lower loss, then the earlier.

    Those with other ``measured`` origins than the newest, such as other data, are left out, as are
    values of NaN.
    """
    validated = [(r.value, r) for r in records if r.value is not None and r.value == r.value]
    newest = max((r for _, r in validated), key=lambda r: r.step, default=Record(0))
    alike = [
        (stopping.order(value, record.loss), record)
        for value, record in validated
        if not differing(record.measured, newest.measured)
    ]
    return [record for _, record in sorted(alike, key=lambda pair: (pair[0], pair[1].step))]


def steps_to_delete(
    records: Sequence[Record], config: CheckpointsConfig, stopping: StoppingConfig
) -> list[int]:
    """Return the steps of the checkpoints that need not be kept."""
    kept = {r.step for r in best_first(records, stopping)[: config.keep_best]}
    kept |= set(sorted(r.step for r in records)[-config.keep_last :])
    if config.keep_every_epoch:
        kept |= {r.step for r in records if r.ends_epoch}
    return sorted({r.step for r in records} - kept)


@dataclass(frozen=True)
class CheckpointStore:
    """Keeps the checkpoints of one run as its config wants; used by one process of a run."""

    run: RunDirectory
    config: TrainingConfig
    origins: Origins = field(default_factory=Origins)  # of what is saved

    def save(
        self,
        state: TrainState,
        metrics: Mapping[str, float],
        tensors: Mapping[str, dict[str, Tensor]],
        others: checkpoint.Writers | None = None,
    ) -> None:
        """Write the checkpoint of ``state.step``; then, and only then, delete older ones.

        Args:
            state: Where the run stands.
            metrics: What validation measured at this step; empty where it was not its turn.
            tensors: By file, tensors by name. See ``checkpoint``.
            others: More files. See ``checkpoint``.

        Raises:
            TrainingError: It can't be written; earlier checkpoints are as they were.
        """
        path, plain = self.run.at(state.step), self._plain(state, metrics)
        try:
            checkpoint.write(path, plain, tensors, others)
        except OSError as error:
            raise _cannot_save(path.parent, state.step, error) from error
        self.tidy(state.step)

    def add_metrics(self, state: TrainState, metrics: Mapping[str, float]) -> None:
        """Complete a checkpoint that was saved before its validation was done."""
        path = self.run.at(state.step)
        try:
            checkpoint.rewrite_state(path, self._plain(state, metrics))
        except OSError as error:
            raise _cannot_save(path.parent, state.step, error) from error
        self.tidy(state.step)

    def tidy(self, step: int) -> None:
        """Point at the best and the last checkpoint, then delete those that need not be kept.

        Checkpoints after ``step``, the last good one, are left alone: they are damaged, and
        training will replace them.

        Raises:
            TrainingError: The folder can't be changed; no checkpoint is damaged by that.
        """
        records = [record for record in self.records() if record.step <= step]
        try:
            self.run.point("last", str(step))
            superfluous = steps_to_delete(records, self.config.checkpoints, self.config.stopping)
            self._point_at_best([record for record in records if record.step not in superfluous])
            for old in self._without_best(superfluous):
                checkpoint.remove(self.run.at(old))
        except OSError as error:
            raise _cannot_save(self.run.checkpoints, step, error) from error

    def save_averaged(
        self,
        steps: list[int],
        metrics: Mapping[str, float],
        weights: dict[str, Tensor],
        others: checkpoint.Writers | None = None,
    ) -> None:
        """Write the mean of checkpoints as checkpoint ``averaged``, which may become the best."""
        path = self.run.checkpoints / AVERAGED
        measured = {"measured": dict(self.origins.measured)} if metrics else {}
        plain = {"steps": steps, "metrics": dict(metrics), **measured}
        try:
            checkpoint.write(path, plain, {checkpoint.MODEL: weights}, others)
            self._point_at_best(self.records())
        except OSError as error:
            raise _cannot_save(path.parent, steps[-1], error) from error

    def best_steps(self, count: int) -> list[int]:
        """Return the steps of the best ``count`` checkpoints with undamaged weights, best first."""
        steps = (record.step for record in best_first(self.records(), self.config.stopping))
        return list(islice(filter(self._is_undamaged, steps), count))

    def last_steps(self, count: int) -> list[int]:
        """Return the last ``count`` steps of checkpoints with undamaged weights, newest first."""
        return list(islice(filter(self._is_undamaged, reversed(self.run.steps())), count))

    def _is_undamaged(self, step: int) -> bool:
        try:
            checkpoint.read_used(self.run.at(step))
        except checkpoint.CheckpointError as error:
            logger.warning("%s; it is left out", error)
            return False
        return True

    def records(self) -> list[Record]:
        """Return a record of each checkpoint; a damaged one counts as not validated."""
        return [self._record(step) for step in self.run.steps()]

    def _record(self, step: int) -> Record:
        try:
            plain = checkpoint.read_training(self.run.at(step), check_files=False)
        except checkpoint.CheckpointError:
            return Record(step)
        ends_epoch = state_from(plain).updates_in_epoch == 0
        return replace(self._measured(plain, step), ends_epoch=ends_epoch)

    def _measured(self, plain: Mapping[str, Any], step: int) -> Record:
        metrics = plain.get("metrics", {})
        value, loss = metrics.get(self.config.stopping.metric), metrics.get("loss")
        return Record(step, value, loss=loss, measured=plain.get("measured", {}))

    def _plain(self, state: TrainState, metrics: Mapping[str, float]) -> dict[str, Any]:
        plain = plain_state(state, self.config.stopping, self.origins)
        return {**plain, "metrics": dict(metrics), "optimizer": self.config.optimizer.kind}

    def _without_best(self, superfluous: Sequence[int]) -> list[int]:
        """Return the steps without the best; if no best one is to be kept, delete the pointer."""
        try:
            best = self.run.pointed("best")
        except checkpoint.CheckpointError:
            return list(superfluous)
        if self.config.checkpoints.keep_best:
            return [step for step in superfluous if self.run.at(step) != best]
        if best in map(self.run.at, superfluous):
            (self.run.checkpoints / "best").unlink()
        return list(superfluous)

    def _point_at_best(self, records: Sequence[Record]) -> None:
        best = best_first([*records, *self._averaged()], self.config.stopping)
        if best:
            self.run.point("best", str(best[0].step) if best[0].step else AVERAGED)

    def _averaged(self) -> list[Record]:
        """Return the record of the averaged checkpoint, if there is one, as step 0."""
        try:
            plain = checkpoint.read_state(self.run.checkpoints / AVERAGED, check_files=False)
        except checkpoint.CheckpointError:
            return []
        return [self._measured(plain, 0)]


def _cannot_save(folder: object, step: int, error: OSError) -> TrainingError:
    cause = error.strerror or str(error)
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space" in cause
    remedy = "make room" if is_full else "mend that"
    return TrainingError(
        f"checkpoint of step {step} can't be written to {folder}: {cause}; "
        f"earlier checkpoints are whole: {remedy}, then go on with --resume"
    )
