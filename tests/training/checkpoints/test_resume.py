"""A run that was stopped, however roughly, ends with the bits of one that never was."""

import random
import signal
import sys
from functools import cache, partial

import pytest
import torch

from seqtrans.training.checkpoints.format import read_state
from seqtrans.training.config import CheckpointsConfig
from seqtrans.training.optim.optimizer import (
    AdafactorConfig,
    AdamConfig,
    AdamWConfig,
    MuonConfig,
    ScheduleFreeAdamWConfig,
    SgdConfig,
)
from seqtrans.training.optim.schedule import PlateauConfig
from seqtrans.training.stopping import StoppingConfig
from tests.support.interruption import (
    HARD,
    Moment,
    assert_same,
    disturb,
    enough_steps,
    files_of,
    hard_with,
    history,
)
from tests.support.toy_training import toy_run, toy_task, toy_trainer

OPTIMIZERS = [
    SgdConfig(learning_rate=0.1),
    SgdConfig(learning_rate=0.1, momentum=0.9, nesterov=True),
    AdamConfig(learning_rate=0.01),
    AdamWConfig(learning_rate=0.01, weight_decay=0.1),
    AdafactorConfig(),
    MuonConfig(),
    ScheduleFreeAdamWConfig(weight_decay=0.1),
]


@pytest.mark.parametrize(
    "optimizer", OPTIMIZERS, ids=lambda c: f"{c.kind}{vars(c).get('momentum', '')}"
)
def test_resuming_equals_never_stopping(tmp_path, optimizer):
    task = toy_task(accumulate=2)
    config = hard_with(optimizer)
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


def moments(signals, seed, times):
    """Draws moments for the toy, which is faster: some come at once."""
    chance = random.Random(seed)  # noqa: S311 - not for secrets

    def draw():
        after = chance.randrange(max(2, 40 // times))
        delay = chance.choice([0.0005, 0.003, 0.02]) * chance.random()
        return Moment(after, delay, chance.choice(signals))

    return draw


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


@pytest.mark.faults
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


@pytest.mark.faults
def test_terminated_it_ends_the_same(tmp_path, undisturbed):
    draw = moments([signal.SIGTERM, signal.SIGINT], 3, times=4)
    codes = disturb(train, tmp_path / "run", draw, times=4)
    assert len(codes) == 4
    assert set(codes) <= {128 + signal.SIGTERM, 128 + signal.SIGINT}
    check_equal(toy_run(tmp_path / "run"), undisturbed(60))
