import logging
import math
import os
import re
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from seqtrans.errors import TrainingError
from seqtrans.protocols import LossSums
from seqtrans.training import compilation
from seqtrans.training import preflight as checks
from seqtrans.training.checkpoints import format as checkpoint
from seqtrans.training.checkpoints.format import read_inference_weights, read_state, read_tensors
from seqtrans.training.checkpoints.provenance import Origins
from seqtrans.training.config import CheckpointsConfig
from seqtrans.training.distributed.single_process import SINGLE_PROCESS
from seqtrans.training.optim.optimizer import AdamConfig
from seqtrans.training.optim.schedule import LinearConfig, PlateauConfig
from seqtrans.training.reporting import nonfinite as finite
from seqtrans.training.stopping import StoppingConfig, StoppingState, StopReason
from tests.support.toy_training import (
    ToyBatch,
    ToyModel,
    ToyTask,
    all_state,
    toy_config,
    toy_run,
    toy_task,
    toy_trainer,
    weights,
)


class Notebook:
    """A logger that remembers."""

    def __init__(self):
        self.lines = []

    def log(self, step, metrics):
        self.lines.append((step, dict(metrics)))

    def steps(self, prefix):
        return [s for s, m in self.lines if any(k.startswith(prefix) for k in m)]

    def column(self, name):
        return [m[name] for _, m in self.lines if name in m]


def noted(**config):
    trainer = toy_trainer(**config)
    trainer.loggers = [Notebook()]
    return trainer, trainer.loggers[0]


def test_to_make_a_trainer_computes_nothing_and_changes_no_environment(monkeypatch):
    def refused(*_):
        raise AssertionError("nothing was to be computed")

    monkeypatch.setattr(ToyModel, "forward", refused)
    toy_trainer()  # imports parts of torch that set variables of their own
    monkeypatch.delenv("LRU_CACHE_CAPACITY", raising=False)
    before = dict(os.environ)
    toy_trainer()
    assert dict(os.environ) == before


def test_it_learns():
    trainer, notebook = noted(max_steps=150, optimizer=AdamConfig(learning_rate=0.02))
    trainer.fit()
    assert trainer.state.stopping.best > 0.7
    assert notebook.column("train/loss")[-1] < 0.1 < notebook.column("train/loss")[0]


def test_the_first_loss_is_that_of_guessing():
    trainer, notebook = noted(max_steps=1)
    nn.init.zeros_(trainer.raw_model.out.weight)
    trainer.fit()
    assert notebook.column("train/perplexity")[0] == pytest.approx(9.0, rel=0.2)
    assert math.log(9.0) == pytest.approx(notebook.column("train/loss")[0], rel=0.1)


def test_a_step_is_that_of_plain_gradient_descent():
    trainer = toy_trainer(max_steps=1)
    plain = toy_trainer().raw_model
    (batch,) = next(trainer.task.updates(0, SINGLE_PROCESS))
    nn.functional.cross_entropy(plain(batch.token), batch.label).backward()
    trainer.fit()
    for new, old in zip(trainer.raw_model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(new.detach(), (old - 0.5 * old.grad).detach())


def test_gradients_are_clipped_to_the_norm_of_the_whole_model():
    trainer, notebook = noted(max_steps=1, clip_norm=1e-3)
    before = weights(trainer).clone()
    trainer.fit()
    assert (weights(trainer) - before).norm().item() == pytest.approx(0.5e-3, rel=1e-3)
    assert notebook.column("train/gradient_norm")[0] > 0.1  # what it was before


def test_the_rate_of_every_step_is_that_of_the_schedule():
    trainer, notebook = noted(max_steps=6, log_every_steps=1, schedule=LinearConfig(warmup_steps=2))
    trainer.fit()
    assert notebook.column("train/learning_rate") == pytest.approx(
        [0.25, 0.5, 0.375, 0.25, 0.125, 0.0]
    )


def test_a_plateau_lowers_the_rate_and_is_remembered(tmp_path):
    config = {
        "max_steps": 8,
        "validate_every_steps": 1,
        "schedule": PlateauConfig(factor=0.1, patience=1),
        "stopping": StoppingConfig(metric="accuracy", patience=None, min_gain=1.0),
    }
    trainer = toy_trainer(run=toy_run(tmp_path / "run"), **config)
    notebook = Notebook()
    trainer.loggers = [notebook]
    trainer.fit()
    assert notebook.column("train/learning_rate") == pytest.approx(
        [0.5, 0.5, 0.05, 0.005, 0.0005, 0.0005, 0.0005, 0.0005]  # as low as it may
    )
    again = toy_trainer(run=toy_run(tmp_path / "run"), **config)
    assert again.resume()
    assert replace(again.state, seconds=0) == replace(trainer.state, seconds=0)


def test_frozen_parts_stay_and_everything_else_moves():
    trainer = toy_trainer(freeze=("embedding.*", "norm.*"), max_steps=3)
    before = {n: p.detach().clone() for n, p in trainer.raw_model.named_parameters()}
    trainer.fit()
    moved = {
        n for n, p in trainer.raw_model.named_parameters() if not torch.equal(p.detach(), before[n])
    }
    assert moved == {"hidden.weight", "hidden.bias", "out.bias"}


def test_dropout_differs_from_step_to_step_and_from_seed_to_seed():
    task = replace(toy_task(batch_size=68), train=toy_task().train)

    class Noise(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))
            self.drawn = []

        def forward(self, token):
            if self.training:
                self.drawn.append(torch.rand(()).item())
            return self.weight.expand(len(token), 9)

    def draws(seed):
        model = Noise()
        toy_trainer(task, model, max_steps=5, seed=seed).fit()
        return model.drawn

    assert len({*draws(1), *draws(2)}) == 10
    assert draws(1) == draws(1)


def test_steps_epochs_and_minutes_are_limits():
    assert toy_trainer(max_steps=5).fit().reason is StopReason.STEPS
    outcome = toy_trainer(max_steps=None, max_epochs=2).fit()
    assert (outcome.reason, outcome.state.step) == (StopReason.EPOCHS, 2 * 9)  # of 68 / 8
    outcome = toy_trainer(max_steps=10**6, max_minutes=0.005).fit()
    assert outcome.reason is StopReason.MINUTES
    assert 0.3 <= outcome.state.seconds < 5.0


def test_it_stops_when_patience_runs_out():
    stopping = StoppingConfig(metric="accuracy", patience=3, min_gain=1.0)
    outcome = toy_trainer(max_steps=99, validate_every_steps=2, stopping=stopping).fit()
    assert (outcome.reason, outcome.state.step) == (StopReason.PATIENCE, 8)


def test_validation_comes_when_due_and_once_at_the_end():
    trainer, notebook = noted(max_steps=10, validate_every_steps=4)
    trainer.fit()
    assert notebook.steps("valid/") == [4, 8, 10]
    trainer, notebook = noted(max_steps=None, max_epochs=2)
    trainer.fit()
    assert notebook.steps("valid/") == [9, 18]


def test_an_update_is_logged_with_the_epoch_it_belongs_to():
    trainer, notebook = noted(max_steps=None, max_epochs=2, log_every_steps=1)
    trainer.fit()
    assert notebook.column("train/epoch") == [0.0] * 9 + [1.0] * 9  # from 0


def test_the_speed_is_that_of_training_without_validation(monkeypatch):
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    trainer, notebook = noted(max_steps=6, log_every_steps=1, validate_every_steps=2)
    update, validate = trainer.updater.update, trainer.task.validate

    def in_a_second(*arguments):
        nonlocal now
        now += 1.0
        return update(*arguments)

    def in_an_hour(*arguments):
        nonlocal now
        now += 3600.0
        return validate(*arguments)

    monkeypatch.setattr(trainer.updater, "update", in_a_second)
    object.__setattr__(trainer.task, "validate", in_an_hour)
    trainer.fit()
    assert notebook.column("train/targets_per_second") == pytest.approx([8.0] * 6)
    assert notebook.column("train/seconds_left")[-2] == pytest.approx(2 * 3600 / 5, rel=0.01)


def test_training_goes_on_in_training_mode_after_a_validation():
    trainer = toy_trainer(max_steps=4, validate_every_steps=2)
    trainer.fit()
    assert trainer.raw_model.training
    assert trainer.raw_model.seen == 4 * 8  # counts only what it is trained on


def test_a_metric_that_is_not_measured_is_an_error():
    trainer = toy_trainer(stopping=StoppingConfig(metric="bleu"))
    with pytest.raises(TrainingError, match="'bleu' is not measured; validation gives accuracy"):
        trainer.fit()


def test_the_moving_average_is_what_is_validated_and_kept(tmp_path):
    run = toy_run(tmp_path / "run")
    trainer = toy_trainer(run=run, ema_decay=0.9, max_steps=6)
    trainer.fit()
    kept = read_inference_weights(run.pointed("last"))
    raw = read_tensors(run.pointed("last"), "model")
    assert kept.keys() == raw.keys()
    assert not torch.equal(kept["hidden.weight"], raw["hidden.weight"])
    assert torch.equal(raw["hidden.weight"], trainer.raw_model.hidden.weight.detach())
    model = ToyModel()
    model.load_state_dict({**kept, "out.weight": kept["embedding.weight"]})
    with torch.inference_mode():
        found = trainer.task.validate(model.eval(), SINGLE_PROCESS)
    assert read_state(run.pointed("last"))["metrics"] == pytest.approx(found)


def test_the_moving_average_decides_when_to_stop_and_what_is_best(tmp_path):
    run = toy_run(tmp_path / "run")
    keep = CheckpointsConfig(keep_best=9, keep_last=9)
    stopping = StoppingConfig(metric="loss", patience=3)
    config = {"validate_every_steps": 2, "max_steps": 16, "stopping": stopping, "checkpoints": keep}
    trainer = toy_trainer(run=run, ema_decay=0.9, **config)
    trainer.fit()
    losses = {}
    for step in run.steps():
        averages = read_tensors(run.at(step), "ema")
        model = ToyModel()
        model.load_state_dict({**averages, "out.weight": averages["embedding.weight"]})
        with torch.inference_mode():
            losses[step] = trainer.task.validate(model.eval(), SINGLE_PROCESS)["loss"]
    best = min(losses, key=losses.get)
    assert run.pointed("best") == run.at(best)
    assert trainer.state.stopping.best_step == best
    assert trainer.state.stopping.best == pytest.approx(losses[best])


def test_the_moving_average_follows_every_step():
    trainer = toy_trainer(ema_decay=0.15)
    expected = trainer.raw_model.hidden.weight.detach().double()
    for step in range(1, 5):
        trainer.update([trainer.task.train])
        decay = min(0.15, (1 + step) / (10 + step))  # 2 / 11 is more already
        expected = decay * expected + (1 - decay) * trainer.raw_model.hidden.weight.detach()
    found = trainer.updater.average.named()["hidden.weight"]
    torch.testing.assert_close(found.double(), expected, atol=1e-6, rtol=1e-5)
    assert not torch.equal(found, trainer.raw_model.hidden.weight.detach())


class Poisoned(type(toy_task())):
    """A task of which one micro-batch spoils the loss, or only the gradient."""

    def loss_sums(self, model, batch):
        sums = super().loss_sums(model, batch)
        if len(batch.label) == 3:  # the last micro-batch of an epoch: 68 = 8 * 8 + 4 = .. + 1 + 3
            spoilt = {"loss": sums.loss * torch.nan, "gradient": _infinite_slope(sums.loss)}
            return LossSums(spoilt[model.poison], sums.shown)
        return sums


def _infinite_slope(loss):
    return loss + torch.sqrt((loss - loss.detach()).abs())


@pytest.mark.parametrize(
    ("poison", "said"),
    [
        ("loss", r"the loss is nan in micro-batch 1 of 2 \(3 targets\)"),
        ("gradient", "the norm of the gradient is (nan|inf)"),
    ],
)
def test_what_is_not_finite_stops_before_the_update(tmp_path, poison, said):
    task = toy_task(batch_size=5, accumulate=2)
    rows = replace(task, train=ToyBatch(task.train.token[:65], task.train.label[:65]))
    task = Poisoned(rows.train, rows.valid, 5, 2)
    torch.manual_seed(0)  # as toy_trainer does
    run, model = toy_run(tmp_path / "run"), ToyModel()
    model.poison = poison
    trainer = toy_trainer(task, model, run=run, validate_every_steps=4, ema_decay=0.5)
    clean = toy_trainer(toy_task(batch_size=5, accumulate=2), max_steps=6)
    clean.task = rows
    clean.fit()
    with pytest.raises(TrainingError, match=rf"step 7 \(epoch 1, update 7\): {said}") as caught:
        trainer.fit()
    assert "\n" not in str(caught.value)
    assert torch.equal(weights(trainer), weights(clean))
    assert all(p.grad is None for p in trainer.raw_model.parameters())
    assert run.steps() == [4]
    assert toy_trainer(rows, run=run, ema_decay=0.5).resume()


def test_what_is_not_finite_hints_at_what_is_not_done_already():
    config = toy_config(clip_norm=1.0)
    bf16, fp32 = (finite.advice(config, bf16=value) for value in (True, False))
    assert bf16 == fp32.replace(" or ", ", ") + " or set precision to fp32"
    assert "lower clip_norm" in fp32
    assert "set clip_norm" in finite.advice(replace(config, clip_norm=None), bf16=False)


def test_data_without_updates_is_an_error():
    task = toy_task()
    task = replace(task, train=ToyBatch(task.train.token[:0], task.train.label[:0]))
    object.__setattr__(task, "batch_size", 8)
    with pytest.raises(TrainingError, match="no update 1 in epoch 1"):
        toy_trainer(_Empty(*vars(task).values())).fit()


class _Empty(type(toy_task())):
    def updates(self, *_args):
        return iter(())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_update_and_saves(tmp_path, number):
    run = toy_run(tmp_path / "run")
    trainer = toy_trainer(_Signalling(*vars(toy_task()).values()), run=run, max_steps=99)
    trainer.task.at.append((4, number))
    before = signal.getsignal(number)
    outcome = trainer.fit()
    assert (outcome.reason, outcome.signal) == (StopReason.INTERRUPTED, number)
    assert (outcome.state.step, run.steps()) == (5, [5])  # batch 4, from 0, is that of step 5
    assert signal.getsignal(number) is before


def test_a_second_interrupt_is_not_caught():
    trainer = toy_trainer(_Signalling(*vars(toy_task()).values()), max_steps=99)
    trainer.task.at.extend([(4, signal.SIGINT), (4, signal.SIGINT)])
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()


class _Signalling(type(toy_task())):
    """Sends a signal while a batch is computed."""

    at = []  # noqa: RUF012 - replaced per instance

    def __init__(self, *args):
        super().__init__(*args)
        object.__setattr__(self, "at", [])
        object.__setattr__(self, "count", [0])

    def loss_sums(self, model, batch):
        for step, number in self.at:
            if step == self.count[0]:
                os.kill(os.getpid(), number)
        self.count[0] += 1
        return super().loss_sums(model, batch)

    def validate(self, model, group):
        if self.at and self.at[0][0] == "validation":
            os.kill(os.getpid(), self.at.pop()[1])
        return super().validate(model, group)


def test_a_signal_abandons_a_validation_and_resuming_makes_up_for_it(tmp_path):
    run = toy_run(tmp_path / "run")
    config = {"max_steps": 20, "log_every_steps": 5, "ema_decay": 0.9}
    trainer = toy_trainer(_Signalling(*vars(toy_task()).values()), run=run, **config)
    trainer.task.at.append(("validation", signal.SIGTERM))
    assert trainer.fit().reason is StopReason.INTERRUPTED
    assert (trainer.state.step, trainer.state.validated_step) == (9, 0)
    assert trainer.raw_model.training
    resumed = toy_trainer(run=run, **config)
    assert resumed.resume()
    resumed.fit()
    straight = toy_trainer(run=toy_run(tmp_path / "straight"), **config)
    straight.fit()
    assert replace(resumed.state, seconds=0) == replace(straight.state, seconds=0)
    assert run.steps() == toy_run(tmp_path / "straight").steps()
    assert run.pointed("best").name == toy_run(tmp_path / "straight").pointed("best").name
    for name, tensor in all_state(straight).items():
        assert torch.equal(all_state(resumed)[name], tensor), name


def test_best_last_and_epoch_checkpoints_are_kept(tmp_path):
    run = toy_run(tmp_path / "run")
    keep = CheckpointsConfig(keep_best=2, keep_last=1, every_steps=5)
    trainer = toy_trainer(run=run, max_steps=23, validate_every_steps=4, checkpoints=keep)
    notebook = Notebook()
    trainer.loggers = [notebook]
    trainer.fit()
    results = dict(zip(notebook.steps("valid/"), notebook.column("valid/accuracy"), strict=True))
    best = sorted(results, key=lambda step: (-results[step], step))
    assert set(run.steps()) == {*best[:2], 23}
    assert run.pointed("best") == run.at(best[0])
    assert run.pointed("last") == run.at(23)
    run = toy_run(tmp_path / "epochs")
    keep = CheckpointsConfig(keep_best=0, keep_every_epoch=True)
    toy_trainer(run=run, max_steps=23, validate_every_steps=4, checkpoints=keep).fit()
    assert run.steps() == [9, 18, 23]


def test_the_mean_of_the_best_is_validated_and_may_be_the_best(tmp_path):
    run = toy_run(tmp_path / "run")
    keep = CheckpointsConfig(keep_best=3, average_best=3)
    stopping = StoppingConfig(metric="loss", patience=None)
    config = {"run": run, "validate_every_steps": 4, "checkpoints": keep, "stopping": stopping}
    trainer = toy_trainer(max_steps=24, **config)
    trainer.fit()
    last = weights(trainer).clone()
    state = read_state(run.checkpoints / "averaged")
    stored = [read_tensors(run.at(step), "model") for step in state["steps"]]
    mean = read_tensors(run.checkpoints / "averaged", "model")
    for name in ("hidden.weight", "norm.bias"):
        expected = torch.from_numpy(np.mean([s[name].numpy() for s in stored], axis=0))
        torch.testing.assert_close(mean[name], expected)
    values = {step: read_state(run.at(step))["metrics"]["loss"] for step in state["steps"]}
    better = state["metrics"]["loss"] < min(values.values())
    assert (run.pointed("best").name == "averaged") is better
    again = toy_trainer(max_steps=24, **config)
    again.resume()
    assert again.fit().reason is StopReason.STEPS
    assert torch.equal(weights(again), last)


@pytest.mark.parametrize("decay", [None, 0.9])
def test_the_mean_of_the_last_is_that_of_the_weights_that_would_be_used(decay, tmp_path):
    run = toy_run(tmp_path / "run")
    keep = CheckpointsConfig(keep_best=1, keep_last=3, average_last=3, every_steps=5)
    stopping = StoppingConfig(metric="loss", patience=None)
    config = {"validate_every_steps": 8, "checkpoints": keep, "stopping": stopping}
    trainer = toy_trainer(run=run, max_steps=18, ema_decay=decay, **config)
    trainer.fit()
    state = read_state(run.checkpoints / "averaged")
    assert state["steps"] == [18, 16, 15]  # saved, or saved and validated
    file = "ema" if decay else "model"
    used = [read_tensors(run.at(step), file) for step in state["steps"]]
    mean = read_tensors(run.checkpoints / "averaged", "model")
    for name, tensor in mean.items():
        if not tensor.is_floating_point():
            continue
        expected = torch.stack([weights[name].double() for weights in used]).mean(0)
        torch.testing.assert_close(tensor.double(), expected, atol=1e-6, rtol=0)
    model = ToyModel()
    model.load_state_dict({**mean, "out.weight": mean["embedding.weight"]})
    with torch.inference_mode():
        found = trainer.task.validate(model.eval(), SINGLE_PROCESS)
    assert state["metrics"] == pytest.approx(found)


def test_a_damaged_checkpoint_is_not_averaged_but_named(tmp_path, caplog):
    run = toy_run(tmp_path / "run")
    keep = CheckpointsConfig(keep_best=3, average_best=2)
    stopping = StoppingConfig(metric="loss", patience=None)
    config = {"run": run, "validate_every_steps": 4, "checkpoints": keep, "stopping": stopping}
    toy_trainer(max_steps=16, **config).fit()
    first = read_state(run.checkpoints / "averaged")["steps"]
    damaged = next(step for step in first if step != 16)  # from the last one it goes on
    (run.at(damaged) / "model.safetensors").write_bytes(b"damaged")
    shutil.rmtree(run.checkpoints / "averaged")
    again = toy_trainer(max_steps=16, **config)
    again.resume()
    again.fit()
    second = read_state(run.checkpoints / "averaged")["steps"]
    assert len(first) == len(second) == 2
    assert set(second) <= set(run.steps()) - {damaged}
    assert f"{run.at(damaged) / 'model.safetensors'}" in caplog.text


@pytest.mark.parametrize("first_check", ["fails", "passes"])
def test_without_a_working_compiler_one_warning_is_said_and_training_goes_on(
    monkeypatch, caplog, first_check
):
    if first_check == "passes":  # and compiling fails at the model itself
        monkeypatch.setattr(compilation, "_can_compile", lambda _: True)

    def fail(*_args, **_kwargs):
        raise torch._inductor.exc.InvalidCxxCompiler

    monkeypatch.setattr(torch, "compile", lambda *_, **__: fail)
    with caplog.at_level(logging.WARNING):
        trainer = toy_trainer(max_steps=3, compile=True)
        trainer.fit()
    assert len(caplog.records) == 1
    assert "torch.compile does not work here" in caplog.text
    plain = toy_trainer(max_steps=3)
    plain.fit()
    assert torch.equal(weights(trainer), weights(plain))


def test_the_check_of_the_largest_batch_leaves_no_trace():
    task, model = toy_task(), ToyModel(dropout=0.5).eval()
    before = {n: t.clone() for n, t in model.state_dict().items()}
    random = torch.random.get_rng_state()
    rehearsal = checks.try_largest_batch(task, model, toy_config())
    assert (rehearsal.targets, rehearsal.fitting) == (8, 8)
    assert rehearsal.memory > 10e6
    assert torch.equal(torch.random.get_rng_state(), random)
    assert not model.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(p.grad is None for p in model.parameters())


def test_what_no_gradient_reaches_is_told_and_can_be_frozen_but_not_averaged(caplog):
    model = ToyModel()
    model.spare = torch.nn.Linear(2, 3)
    unused = checks.try_largest_batch(toy_task(), model, toy_config()).unused
    assert unused == ("spare.weight", "spare.bias")
    checks.check_used(unused, 1)
    assert "which won't learn: spare.weight, spare.bias" in caplog.text
    with pytest.raises(TrainingError, match=r"not depend on spare.weight, spare.bias: several "):
        checks.check_used(unused, 2)
    frozen = toy_config(freeze=("spare.*",))
    assert checks.try_largest_batch(toy_task(), model, frozen).unused == ()
    assert checks.try_largest_batch(toy_task(), ToyModel(), toy_config()).unused == ()


class _Huge(type(toy_task())):
    def loss_sums(self, model, batch):
        return LossSums(model(batch.token).sum() * torch.empty(2**50).sum())


def test_a_batch_that_does_not_fit_is_an_error_before_training():
    task = _Huge(*vars(toy_task()).values())
    with pytest.raises(TrainingError, match="of 8 targets, not even 1 fit into memory; leave"):
        checks.try_largest_batch(task, ToyModel(), toy_config())


def test_the_disk_must_hold_all_checkpoints(tmp_path, monkeypatch):
    run, config = toy_run(tmp_path / "run"), toy_config(ema_decay=0.9, optimizer=AdamConfig())
    model = ToyModel()
    trainer = toy_trainer(run=run, ema_decay=0.9, optimizer=AdamConfig(), max_steps=1)
    trainer.fit()
    files = run.at(1).glob("*.safetensors")
    estimate = checks.checkpoint_size(model, config)
    tensors = sum(t.nbytes for t in all_state(trainer).values())
    assert estimate == pytest.approx(tensors, rel=0.02)
    assert sum(f.stat().st_size for f in files) < estimate + 8_000  # headers
    checks.check_room(run, model, config)
    usage = checks.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda _: usage._replace(free=0))
    with pytest.raises(TrainingError, match=r"are free; .*keep_best") as caught:
        checks.check_room(run, model, config)
    said = re.findall(r"([\d.]+) kB", str(caught.value))
    held = sum(f.stat().st_size for f in run.checkpoints.rglob("*") if f.is_file())
    sizes = [estimate, 3 * estimate, held]
    assert [float(number) for number in said] == pytest.approx([s / 1e3 for s in sizes], rel=0.005)


@pytest.mark.parametrize(
    ("size", "said"),
    [(0, "0 bytes"), (999_499, "999 kB"), (999_500, "1 MB"), (3_456e6, "3.46 GB")],
)
def test_sizes_are_told_in_three_digits(tmp_path, monkeypatch, size, said):
    run = toy_run(tmp_path / "run")
    usage = checks.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda _: usage._replace(free=size))
    with pytest.raises(TrainingError, match=f"only {re.escape(said)} are free"):
        checks.check_disk_space(run, 10**16, 1)


def test_the_log_tells_every_step_once():
    trainer, notebook = noted(max_steps=11, log_every_steps=3, validate_every_steps=5)
    trainer.fit()
    assert notebook.steps("train/") == [3, 5, 6, 9, 10, 11]
    assert notebook.column("train/padding_share") == [0.0] * 6
    assert all(0 <= share <= 1 for share in notebook.column("train/data_wait_share"))
    assert notebook.column("train/seconds_left")[-1] == 0.0


def test_a_state_file_is_plain_yaml(tmp_path):
    run = toy_run(tmp_path / "run")
    toy_trainer(run=run, max_steps=2).fit()
    raw = yaml.safe_load((run.at(2) / "state.yaml").read_text())
    assert raw["format"] == 1
    assert raw["state"]["step"] == 2
    assert raw["optimizer"] == "sgd"


def test_making_batches_counts_as_waiting_for_data(monkeypatch):
    """A batch takes 3 of the clock's seconds to make, and 1 to learn from."""
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])

    class Slow(ToyTask):
        def updates(self, epoch, group, start=0):
            for update in super().updates(epoch, group, start):
                clock[0] += 3.0
                yield update

        def loss_sums(self, model, batch):
            clock[0] += 1.0
            return super().loss_sums(model, batch)

    trainer = toy_trainer(Slow(**vars(toy_task())), max_steps=4, log_every_steps=4)
    trainer.loggers = [notebook := Notebook()]
    trainer.fit()
    (_, metrics), *_ = notebook.lines
    # one is made ahead, to know whether the epoch ends
    assert metrics["train/data_wait_share"] == pytest.approx(15 / 19)


def scored(results, run=None, **config):
    """A run that is validated after every update, with these accuracies and losses."""
    trainer = toy_trainer(
        run=run, **{"validate_every_steps": 1, "max_steps": len(results)} | config
    )
    trainer.resume()

    def measure(model, group):  # noqa: ARG001 - those of a task
        accuracy, loss = results[min(trainer.state.step, len(results)) - 1]
        return {"accuracy": accuracy, "loss": loss, "f1": -accuracy}

    trainer.task.__dict__["validate"] = measure
    return trainer


FALLING = [(0.0, 4.0), (0.0, 3.0), (0.0, 2.0), (0.0, 1.0), (0.0, 1.5)]


def test_while_the_metric_stands_still_a_falling_loss_is_a_gain(tmp_path):
    run = toy_run(tmp_path / "run")
    stopping = StoppingConfig(metric="accuracy", patience=1)
    kept = CheckpointsConfig(keep_best=2, keep_last=1, average_best=2)
    plateau = PlateauConfig(patience=1, factor=0.5)
    config = {"stopping": stopping, "checkpoints": kept, "schedule": plateau, "max_steps": 9}
    trainer = scored(FALLING, run, **config)
    assert trainer.fit().reason is StopReason.PATIENCE
    assert trainer.state.step == 5
    assert trainer.state.lr_scale == 0.5  # for the last validation alone
    assert run.steps() == [4, 5]
    assert read_state(run.checkpoints / "averaged")["steps"] == [4, 5]
    assert run.pointed("best") == run.at(4)


def test_a_loss_that_falls_without_a_gain_is_said_at_the_end(caplog):
    results = [(0.5, 4.0), (0.4, 3.0)]
    stopping = StoppingConfig(metric="accuracy", patience=1)
    assert scored(results, stopping=stopping, max_steps=3).fit().reason is StopReason.PATIENCE
    assert "fell from 4 to 3 without a gain in accuracy" in caplog.text
    caplog.clear()
    results = [(1.0, 4.0), (1.0, 3.0)]
    assert scored(results, stopping=stopping, max_steps=3).fit().reason is StopReason.PATIENCE
    assert not caplog.text  # nothing is better than an accuracy of 1


@pytest.mark.parametrize(
    ("metric", "goal", "best", "said"),
    [
        ("accuracy", None, (0.9, 2, 0), None),
        ("f1", "max", (-0.1, 1, 0), "stopping.metric is f1 now"),
        ("f1", "min", (-0.9, 2, 0), "stopping.metric is f1 now"),
        ("loss", None, (1.0, 3, 0), "stopping.metric is loss now"),
        ("perplexity", None, (None, 0, 0), "no checkpoint was measured by it"),
    ],
)
def test_another_metric_counts_from_what_the_checkpoints_have_of_it(
    tmp_path, caplog, metric, goal, best, said
):
    run = toy_run(tmp_path / "run")
    kept = CheckpointsConfig(keep_best=3)
    scored([(0.1, 3.0), (0.9, 2.0), (0.5, 1.0)], run, checkpoints=kept).fit()
    stopping = StoppingConfig(metric=metric, goal=goal, patience=2)
    state = scored(FALLING, run, stopping=stopping, checkpoints=kept).state.stopping
    waited = 1 if said is None else 0
    assert (state.best, state.best_step, state.waited) == (*best[:2], waited)
    assert (said or "") in caplog.text
    if best[1]:
        assert run.pointed("best") == run.at(best[1])


def test_a_best_that_is_no_longer_measured_stays_until_there_is_another(tmp_path):
    run = toy_run(tmp_path / "run")
    kept = CheckpointsConfig(keep_best=1)
    first = Origins(measured={"data.validation": "old"})
    trainer = scored([(0.1, 3.0), (0.9, 2.0), (0.5, 1.0)], run, checkpoints=kept)
    trainer.saving.store = replace(trainer.saving.store, origins=first)
    trainer.fit()
    changed = toy_trainer(
        run=run, checkpoints=kept, origins=Origins(measured={"data.validation": "new"})
    )
    changed.resume()
    assert changed.state.stopping == StoppingState()
    assert run.pointed("best") == run.at(2)
    changed.fit()
    assert run.pointed("best") == run.at(12)
    assert 2 not in run.steps()


def test_an_epoch_whose_batches_change_begins_anew(tmp_path, caplog):
    def trainer(batch_tokens, **config):
        origins = Origins(order={"data.batch_tokens": batch_tokens})
        return toy_trainer(run=run, origins=origins, **config)

    run = toy_run(tmp_path / "run")
    trainer("400", max_steps=12).fit()  # epochs have 9 updates
    same, other = trainer("400"), trainer("800")
    same.resume()
    assert (same.state.epoch, same.state.updates_in_epoch) == (1, 3)
    other.resume()
    assert (other.state.epoch, other.state.updates_in_epoch) == (1, 0)
    assert other.state.micro_batches_in_epoch == 0
    assert "data.batch_tokens changed: epoch 2 begins anew" in caplog.text


def test_a_checkpoint_of_an_older_version_is_gone_on_with(tmp_path):
    """One without what stands beside the state, and of which the best is known by its number."""
    run = toy_run(tmp_path / "run")
    scored(
        [(0.0, 3.0), (0.0, 2.0), (0.0, 4.0)], run, checkpoints=CheckpointsConfig(keep_best=3)
    ).fit()
    for step in run.steps():
        plain = read_state(run.at(step))
        old = {name: plain[name] for name in ("state", "metrics", "optimizer")}
        checkpoint.rewrite_state(run.at(step), old)
    state = scored(FALLING, run).state.stopping
    assert state == StoppingState(best=0.0, best_step=2, waited=1, loss=2.0)
    other = scored(FALLING, run, stopping=StoppingConfig(metric="loss"))
    assert other.state.stopping == StoppingState(best=2.0, best_step=2, waited=0, loss=2.0)


def test_best_names_no_checkpoint_that_is_not_kept(tmp_path):
    run = toy_run(tmp_path / "run")
    kept = CheckpointsConfig(keep_best=0, keep_last=1, every_steps=1)
    scored([(0.9, 1.0), (0.5, 2.0)], run, checkpoints=kept).fit()
    assert run.steps() == [2]
    assert run.pointed("best") == run.at(2)
    trainer = scored(FALLING, run, checkpoints=kept)
    trainer.saving.save(replace(trainer.state, step=3), {})
    assert run.steps() == [3]
    assert not (run.checkpoints / "best").exists()
