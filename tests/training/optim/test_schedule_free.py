"""Schedule-free AdamW against the sequences x, y and z of its paper, in fp64."""

import math
import sys

import pytest
import torch
from torch import nn

from seqtrans.errors import TrainingError
from seqtrans.training.checkpoints.format import read_inference_weights, read_tensors
from seqtrans.training.optim.optimizer import build_optimizer, set_rates
from seqtrans.training.optim.optimizer_config import ScheduleFreeAdamWConfig
from seqtrans.training.optim.schedule import ConstantConfig, LinearConfig
from seqtrans.training.optim.schedule_free import ScheduleFreeAverage
from tests.support.interruption import assert_same
from tests.support.toy_training import toy_config, toy_run, toy_trainer

CONFIG = ScheduleFreeAdamWConfig(
    learning_rate=0.1, betas=(0.8, 0.95), epsilon=1e-3, weight_decay=0.3
)


def paper(start, gradients, rates, decay):
    """The sequences of arXiv:2405.15682, algorithm 1, for one number."""
    beta1, beta2 = CONFIG.betas
    x = y = z = start
    v = total = 0.0
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        v = beta2 * v + (1 - beta2) * g * g
        step = g / (math.sqrt(v / (1 - beta2**t)) + CONFIG.epsilon)
        z -= rate * (step + decay * y)
        total += rate**2
        x += rate**2 / total * (z - x)
        y = (1 - beta1) * z + beta1 * x
    return x, y, z


def test_weights_are_y_and_the_average_is_x():
    gradients, rates = (2.0, -1.0, 0.5, 3.0), (0.02, 0.05, 0.1, 0.1)
    model = nn.Linear(1, 1).double()
    for parameter in model.parameters():
        nn.init.constant_(parameter, 3.0)
    optimizer = build_optimizer(CONFIG, model)
    average = ScheduleFreeAverage(model, optimizer)
    assert average.named()["weight"].item() == 3.0
    for step, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, gradient)
        set_rates(optimizer, rate, step)
        optimizer.step()
    for name, decay in (("weight", 0.3), ("bias", 0.0)):
        x, y, z = paper(3.0, gradients, rates, decay)
        parameter = model.get_parameter(name)
        assert parameter.item() == pytest.approx(y, rel=1e-12)
        assert optimizer.state[parameter]["z"].item() == pytest.approx(z, rel=1e-12)
        assert average.named()[name].item() == pytest.approx(x, rel=1e-12)
        with average.applied():
            assert parameter.item() == pytest.approx(x, rel=1e-12)
        assert parameter.item() == pytest.approx(y, rel=1e-12)


def test_a_run_is_validated_and_used_with_x_and_goes_on_from_y(tmp_path):
    run = toy_run(tmp_path / "run")
    trainer = toy_trainer(run=run, optimizer=CONFIG)
    trainer.fit()
    y = {name: p.clone() for name, p in trainer.raw_model.named_parameters()}
    metrics = trainer.validate()
    averages = trainer.updater.average.named()
    stored = read_inference_weights(run.pointed("last"))
    trained = read_tensors(run.pointed("last"), "model")
    for name, parameter in trainer.raw_model.named_parameters():
        assert torch.equal(parameter, y[name])
        assert torch.equal(trained[name], y[name])
        assert torch.equal(stored[name], averages[name])
        assert not torch.equal(stored[name], y[name])
    with torch.no_grad():
        for name, parameter in trainer.raw_model.named_parameters():
            parameter.copy_(averages[name])
        assert dict(trainer.task.validate(trainer.raw_model.eval(), trainer.group)) == metrics


def test_what_thaws_begins_as_if_it_were_the_first_step():
    model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1)).double()
    optimizer = build_optimizer(CONFIG, model, learning={"0.weight": 0, "1.weight": 1})
    set_rates(optimizer, 0.1, 1)
    start = [model[i].weight.item() for i in (0, 1)]
    for late in (False, False, True):
        model[0].weight.grad = torch.full((1, 1), 2.0, dtype=torch.float64)
        model[1].weight.grad = torch.full((1, 1), 2.0, dtype=torch.float64) if late else None
        optimizer.step()
    for i, steps in ((0, 3), (1, 1)):
        _, y, _ = paper(start[i], (2.0,) * steps, (0.1,) * steps, 0.3)
        assert model[i].weight.item() == pytest.approx(y, rel=1e-12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"schedule": LinearConfig()}, r"schedule 'linear' lowers .* use schedule: {kind: const"),
        ({"schedule": ConstantConfig(), "ema_decay": 0.9}, "ema_decay averages .* leave it out"),
    ],
)
def test_a_decay_and_a_second_average_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        toy_config(optimizer=CONFIG, **settings)


def test_batch_normalization_is_refused():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    with pytest.raises(TrainingError, match="batch normalization has no statistics: use adamw"):
        ScheduleFreeAverage(model, build_optimizer(CONFIG, model))


def test_without_the_package_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "schedulefree", None)
    with pytest.raises(TrainingError, match=r"needs pip install 'seqtrans\[schedulefree\]'"):
        build_optimizer(CONFIG, nn.Linear(1, 1))


def test_resuming_before_at_and_after_a_thaw_equals_never_stopping(tmp_path):
    config = {
        "thaw": {"hidden.*": 2, "norm.*": 3},  # in epochs of 9 updates
        "learning_rates": {"*.bias": 2.0},
        "optimizer": CONFIG,
        "dropout": 0.3,
    }
    straight = toy_trainer(max_steps=24, **config)
    straight.fit()
    run = toy_run(tmp_path / "run")
    for steps in (4, 9, 13, 18, 20, 24):
        resumed = toy_trainer(run=run, max_steps=steps, **config)
        assert resumed.resume() is (steps > 4)
        resumed.fit()
    assert_same(resumed, straight)
