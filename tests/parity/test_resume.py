"""A run that was stopped, however roughly, ends with the bits of one that never was."""

import json
import os
import random
import signal
import sys
import threading
import time
from dataclasses import replace
from functools import cache, partial
from typing import NamedTuple

import pytest
import torch
from toy import all_state, processes, toy_run, toy_task, toy_trainer

from seqtrans.training.checkpoints.format import read_state, read_tensors
from seqtrans.training.config import CheckpointsConfig
from seqtrans.training.early_stopping import StoppingConfig
from seqtrans.training.optim.optimizer import AdafactorConfig, AdamConfig, AdamWConfig, SgdConfig
from seqtrans.training.optim.schedule import InverseSquareRootConfig, PlateauConfig
from seqtrans.training.reporting.metric_window import TIMINGS

OPTIMIZERS = [
    SgdConfig(learning_rate=0.1),
    SgdConfig(learning_rate=0.1, momentum=0.9, nesterov=True),
    AdamConfig(learning_rate=0.01),
    AdamWConfig(learning_rate=0.01, weight_decay=0.1),
    AdafactorConfig(),
]
HARD = {
    "dropout": 0.3,
    "ema_decay": 0.9,
    "clip_norm": 0.5,
    "schedule": InverseSquareRootConfig(warmup_steps=5),
    "validate_every_steps": 7,
    "log_every_steps": 5,
}


def assert_same(first, second):
    found, expected = all_state(first), all_state(second)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name
    assert replace(first.state, seconds=0) == replace(second.state, seconds=0)


def history(run):
    """Lines of the log without what differs from run to run."""
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    return [
        {k: v for k, v in line.items() if k.removeprefix("train/") not in TIMINGS} for line in lines
    ]


@pytest.mark.parametrize(
    "optimizer", OPTIMIZERS, ids=lambda c: f"{c.kind}{vars(c).get('momentum', '')}"
)
def test_resuming_equals_never_stopping(tmp_path, optimizer):
    task = toy_task(accumulate=2)
    config = {**HARD, "optimizer": optimizer}
    straight = toy_trainer(task, run=toy_run(tmp_path / "straight"), max_steps=23, **config)
    straight.fit()
    run = toy_run(tmp_path / "resumed")
    for steps in (14, 21, 23):  # epochs have 5 updates
        resumed = toy_trainer(task, run=run, max_steps=steps, **config)
        assert resumed.resume() is (steps > 14)
        resumed.fit()
    assert_same(resumed, straight)
    assert history(run) == history(toy_run(tmp_path / "straight"))


def test_plateau_and_patience_survive(tmp_path):
    config = {
        **HARD,
        "schedule": PlateauConfig(patience=1, factor=0.5),
        "stopping": StoppingConfig(metric="accuracy", patience=4, min_gain=0.05),
    }
    straight = toy_trainer(max_steps=400, **config)
    straight.fit()
    run = toy_run(tmp_path / "run")
    for steps in (14, 28, 400):
        resumed = toy_trainer(run=run, max_steps=steps, **config)
        resumed.resume()
        resumed.fit()
    assert straight.state.lr_scale < 1.0
    assert straight.state.step < 400
    assert_same(resumed, straight)


class Moment(NamedTuple):
    """When and how a run is stopped: told in steps, so that no machine is too fast or too slow.

    Attributes:
        after: Steps that are taken first.
        delay: Then this many seconds pass, though no more than two further steps.
        signal: What the process sends to itself.
    """

    after: int
    delay: float
    signal: int

    def arm(self, trainer):
        """Let the trainer meet its moment."""
        thread = threading.Thread(target=self._strike, daemon=True)
        update, first = trainer.update, trainer.state.step + self.after

        def meet(micro_batches):
            if trainer.state.step == first:
                thread.start()
            elif trainer.state.step == first + 2:
                thread.join()
            update(micro_batches)

        trainer.update = meet

    def _strike(self):
        time.sleep(self.delay)
        os.kill(os.getpid(), self.signal)


def enough_steps(times):
    """How many a run needs to be stopped so often, however fast the machine is.

    Where it is stopped often, ``after`` is 0 or 1, so no stop lets it take more than 3 steps.
    """
    return max(40, 3 * times + 10)


def train(folder, moment=None, steps=60):
    """Begin or resume a run; ends the process as the command would."""
    torch.set_num_threads(1)
    keep = CheckpointsConfig(keep_best=2, keep_last=2, every_steps=3, average_best=2)
    run = toy_run(folder)
    config = {**HARD, "max_steps": steps, "optimizer": AdamConfig(learning_rate=0.01)}
    trainer = toy_trainer(run=run, checkpoints=keep, **config)
    trainer.resume()
    if moment:
        moment.arm(trainer)
    outcome = trainer.fit()
    if outcome.signal:
        sys.exit(128 + outcome.signal)


def disturb(train, folder, draw, times):
    """Stop a run again and again, then let it end; the exit codes of the stopped processes.

    Args:
        train: Begins or resumes the run in a folder; called in processes of their own.
        folder: Of the run.
        draw: Gives the moment of the next stop.
        times: How often it is stopped at most; it may have come to its end before.
    """
    codes = []
    while not codes or codes[-1] != 0:
        moment = draw() if len(codes) < times else None
        process = processes.Process(target=train, args=(folder, moment))
        process.start()
        process.join(300)
        assert process.exitcode is not None
        codes.append(process.exitcode)
        process.close()
    return codes[:-1]


def kills(steps, times):
    """Draws the moments of so many kills, near enough that ``enough_steps`` are enough."""
    chance = random.Random(5)  # noqa: S311 - not for secrets

    def draw():
        after = chance.randrange(max(2, steps * 2 // 3 // times))
        return Moment(after, 0.02 * chance.random(), signal.SIGKILL)

    return draw


def moments(signals, seed, times):
    """Draws moments for the toy, which is faster: some come at once."""
    chance = random.Random(seed)  # noqa: S311 - not for secrets

    def draw():
        after = chance.randrange(max(2, 40 // times))
        delay = chance.choice([0.0005, 0.003, 0.02]) * chance.random()
        return Moment(after, delay, chance.choice(signals))

    return draw


def files_of(run):
    """Every tensor that a run left behind."""
    return {
        f"{path.parent.name}/{path.name}/{name}": tensor
        for path in sorted(run.checkpoints.glob("*/*.safetensors"))
        for name, tensor in read_tensors(path.parent, path.stem).items()
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    @cache
    def trained(steps):
        folder = tmp_path_factory.mktemp("undisturbed") / "run"
        train(folder, steps=steps)
        return toy_run(folder)

    return trained


def check_equal(run, undisturbed):
    assert run.steps() == undisturbed.steps()
    found, expected = files_of(run), files_of(undisturbed)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
    for pointer in ("best", "last"):
        assert run.pointed(pointer).name == undisturbed.pointed(pointer).name
    metrics = [read_state(r.pointed("best"))["metrics"] for r in (run, undisturbed)]
    assert metrics[0] == metrics[1]
    assert not list(run.checkpoints.glob(".*"))


@pytest.mark.parametrize("times", [5, pytest.param(50, marks=pytest.mark.slow)])
def test_killed_at_random_moments_it_ends_the_same(tmp_path, undisturbed, times):
    steps = max(60, enough_steps(times))
    draw = moments([signal.SIGKILL], 7, times)
    codes = disturb(partial(train, steps=steps), tmp_path / "run", draw, times)
    assert len(codes) == times
    assert set(codes) == {-signal.SIGKILL}
    run = toy_run(tmp_path / "run")
    check_equal(run, undisturbed(steps))
    assert history(run) == history(undisturbed(steps))


def test_terminated_it_ends_the_same(tmp_path, undisturbed):
    draw = moments([signal.SIGTERM, signal.SIGINT], 3, times=4)
    codes = disturb(train, tmp_path / "run", draw, times=4)
    assert len(codes) == 4
    assert set(codes) <= {128 + signal.SIGTERM, 128 + signal.SIGINT}
    check_equal(toy_run(tmp_path / "run"), undisturbed(60))
