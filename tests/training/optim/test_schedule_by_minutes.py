"""A learning rate that decays over minutes: whatever the machine, and in every process alike."""

from types import SimpleNamespace

import pytest
import torch

from seqtrans.training import trainer as trainer_module
from seqtrans.training.optim.schedule import LinearConfig
from seqtrans.training.stopping import StopReason
from tests.support.interruption import HARD, assert_same, history
from tests.support.processes import meet
from tests.support.toy_training import toy_run, toy_task, toy_trainer, weights

TIMED = {**HARD, "schedule": LinearConfig(warmup_steps=3, horizon="minutes")}


def keep_time(patch, trainer, seconds_a_step, start=0.0):
    """Let every step of ``trainer`` take so long by the clock, which stood at ``start``."""
    clock = SimpleNamespace(monotonic=lambda: start + seconds_a_step * trainer.state.step)
    patch.setattr(trainer_module, "time", clock)


def fit(patch, run, seconds_a_step, *, start=0.0, **config):
    trainer = toy_trainer(run=run, max_minutes=0.2, **{**TIMED, **config})
    keep_time(patch, trainer, seconds_a_step, start)
    trainer.resume()
    return trainer, trainer.fit()


@pytest.mark.parametrize("seconds_a_step", [2.0, 0.5])
def test_it_ends_near_zero_on_a_slow_and_on_a_fast_machine(tmp_path, monkeypatch, seconds_a_step):
    run = toy_run(tmp_path / "run")
    config = {"max_steps": None, "log_every_steps": 1}
    trainer, outcome = fit(monkeypatch, run, seconds_a_step, **config)
    steps = 12 / seconds_a_step
    assert (outcome.reason, outcome.state.step) == (StopReason.MINUTES, steps)
    rates = [line["train/learning_rate"] for line in history(run) if "train/loss" in line]
    after = [1 - i / steps for i in range(int(steps))]
    warm = [min(1.0, (i + 1) / 3) for i in range(int(steps))]
    assert rates == pytest.approx([0.5 * a * w for a, w in zip(after, warm, strict=True)])
    assert trainer.state.seconds == 12.0


def test_resumed_it_ends_in_the_same_bits_where_steps_take_the_same_time(tmp_path, monkeypatch):
    straight, _ = fit(monkeypatch, toy_run(tmp_path / "straight"), 0.5, max_steps=None)
    run = toy_run(tmp_path / "resumed")
    fit(monkeypatch, run, 0.5, max_steps=14)
    fit(monkeypatch, run, 0.5, max_steps=21, start=-70.0)
    resumed, outcome = fit(monkeypatch, run, 0.5, max_steps=None, start=1000.0)
    assert (outcome.reason, outcome.state.step) == (StopReason.MINUTES, 24)
    assert_same(resumed, straight)
    assert history(run) == history(toy_run(tmp_path / "straight"))
    slower, _ = fit(monkeypatch, toy_run(tmp_path / "slower"), 0.6, max_steps=None)
    assert not torch.equal(weights(slower), weights(resumed))


def _train(group, folder):
    trainer = toy_trainer(toy_task(accumulate=2), group=group, max_minutes=0.2, **TIMED)
    clock = SimpleNamespace(monotonic=lambda: (1 + 5 * group.rank) * trainer.state.step)
    trainer_module.time = clock
    outcome = trainer.fit()
    assert (outcome.reason, outcome.state.step) == (StopReason.MINUTES, 12)  # by the first's clock
    torch.save(weights(trainer), folder / f"{group.rank}.pt")


def test_processes_go_by_one_clock(tmp_path):
    assert meet(_train, tmp_path, 2) == [0, 0]
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert torch.equal(first, second)
