"""Whatever befalls one of several processes in the training loop, all leave it: one says why."""

import errno
import os
import re
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import pytest
import torch

from seqtrans.errors import DataError, TrainingError
from seqtrans.protocols import LossSums
from seqtrans.training.checkpoints import format as checkpoint
from seqtrans.training.config import CheckpointsConfig
from seqtrans.training.distributed.failure_reports import in_contact, should_report
from seqtrans.training.reporting.loggers import JsonLinesLogger
from seqtrans.training.stopping import StoppingConfig
from tests.support.processes import meet
from tests.support.toy_training import ToyTask, toy_run, toy_task, toy_trainer

pytestmark = pytest.mark.processes

WORLD, VICTIM = 3, 1
REPORTED = 3  # exit code
WAITED = r"LostContactError: step 4: process [02] waited .* for process 1 of 3; checkpoints are"
FATES = {  # what befalls a process, and the one message that there is to be
    "data": "DataError: corpus is damaged",
    "bug": "TypeError: a mistake of ours",
    "no number": r"TrainingError: step 4 .*: the loss is nan in micro-batch 1 of 1",
    "validation": "TrainingError: validation: diverged",
    "full disk": "TrainingError: checkpoint of step 6 can't be written .*: No space left on device",
    "full log": "TrainingError: step 4 can't be logged: No space left on device",
    "hangs": WAITED,
    "is killed": WAITED,
}

MILD = {"data", "validation"}  # raised by the learning itself


@dataclass(frozen=True)
class Fated(ToyTask):
    """Fails in one process, in the fourth update or in validation; metrics differ by process."""

    fate: str = ""
    rank: int = 0
    folder: Path = Path()
    learnt: list[int] = field(default_factory=list)

    def updates(self, epoch, group, start=0):
        for number, update in enumerate(super().updates(epoch, group, start)):
            if self.fate == "data" and number == 3 and self.rank == VICTIM:
                raise DataError("corpus is damaged")
            yield update

    def loss_sums(self, model, batch):
        sums = super().loss_sums(model, batch)
        self.learnt.append(batch.num_targets)
        if self.rank != VICTIM or len(self.learnt) != 5:  # the first is for nothing, see Updater
            return sums
        if self.fate == "bug":
            raise TypeError("a mistake of ours")
        if self.fate == "is killed":
            os.kill(os.getpid(), signal.SIGKILL)
        while self.fate == "hangs" and not list(self.folder.glob("said-*")):
            time.sleep(0.1)
        return LossSums(sums.loss * torch.nan) if self.fate == "no number" else sums

    def validate(self, model, group):
        if self.fate == "validation" and self.rank == VICTIM:
            raise TrainingError("validation: diverged")
        averages = len(self.validated) == 4
        if self.fate == "signal while averaging" and self.rank == VICTIM and averages:
            os.kill(os.getpid(), signal.SIGTERM)
        metrics = super().validate(model, group)
        if self.fate == "early stopping":  # with no gain at all, but in the eyes of one process
            return {"accuracy": 0.5 + len(self.validated) * (self.rank == VICTIM) / 1e9}
        return metrics


def refused(*_args, **_kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _train(group, folder, fate):
    task = Fated(**vars(toy_task()), fate=fate, rank=group.rank, folder=folder)
    if group.rank == 0:
        toy_run(folder / "run")
    group.sum([0.0])
    keep = CheckpointsConfig(keep_best=2, average_best=2)
    run = toy_run(folder / "run")
    stopping = StoppingConfig(metric="accuracy", patience=2 if fate == "early stopping" else None)
    settings = {"checkpoints": keep, "stopping": stopping, "max_steps": 24}
    trainer = toy_trainer(task, run=run, group=group, validate_every_steps=6, **settings)
    full = {"full disk": (checkpoint, "write"), "full log": (JsonLinesLogger, "log")}
    try:
        with in_contact(group, lambda: "preparing"):
            if fate in full and group.rank == 0:
                with mock.patch.object(*full[fate], refused):
                    trainer.fit()
            else:
                outcome = trainer.fit()
                (folder / f"end-{group.rank}").write_text(f"{outcome.reason} {outcome.state.step}")
    except Exception as error:
        if should_report(error, group):
            (folder / f"said-{group.rank}").write_text(f"{type(error).__name__}: {error}")
        os._exit(REPORTED)


@pytest.mark.parametrize(
    "fate",
    [name if name in MILD else pytest.param(name, marks=pytest.mark.faults) for name in FATES],
)
def test_all_end_and_one_says_why(tmp_path, fate):
    codes = meet(_train, tmp_path, WORLD, fate, patience=4 if fate == "hangs" else 60)
    assert set(codes) <= {REPORTED, -signal.SIGKILL}
    assert codes.count(REPORTED) == (WORLD - 1 if fate == "is killed" else WORLD)
    (said,) = [file.read_text() for file in tmp_path.glob("said-*")]
    assert re.match(FATES[fate], said), said


@pytest.mark.parametrize("fate", ["early stopping", "signal while averaging", "nothing"])
def test_all_end_together_though_one_would_not(tmp_path, fate):
    assert meet(_train, tmp_path, WORLD, fate) == [0] * WORLD
    ends = {file.read_text() for file in tmp_path.glob("end-*")}
    assert len(ends) == 1
    assert ends == {"StopReason.PATIENCE 18" if fate == "early stopping" else "StopReason.STEPS 24"}
    assert (tmp_path / "run" / "checkpoints" / "averaged").is_dir()
