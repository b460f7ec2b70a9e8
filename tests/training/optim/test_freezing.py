# ruff: noqa: E501 - messages are told in full
"""What is frozen stays, what is thawed moves, and rates are what their patterns say."""

import pytest
import torch
from torch import nn

from seqtrans.config import loads
from seqtrans.errors import RecipeError, TrainingError
from seqtrans.training.config import TrainingConfig
from seqtrans.training.optim.optimizer import (
    AdafactorConfig,
    AdamWConfig,
    MuonConfig,
    SgdConfig,
    build_optimizer,
    set_rates,
)
from seqtrans.training.optim.schedule import LinearConfig
from seqtrans.training.preflight import untouched
from tests.support.toy_training import ToyModel, all_state, toy_run, toy_task, toy_trainer

HIDDEN = {"hidden.*": 3}
EPOCH = 9  # updates of the toy task


class Normed(ToyModel):
    """With statistics that training moves, in a part of their own."""

    def __init__(self, dropout=0.0):
        super().__init__(dropout)
        self.hidden = nn.Sequential(nn.Linear(12, 12), nn.BatchNorm1d(12), nn.Dropout(dropout))


def tuned(dropout=0.0, **config):
    torch.manual_seed(0)
    return toy_trainer(model=Normed(dropout), **config)


def state(trainer):
    return {name: tensor.clone() for name, tensor in trainer.raw_model.state_dict().items()}


def moved(before, trainer):
    return {name for name, t in trainer.raw_model.state_dict().items() if not t.equal(before[name])}


def test_parameters_and_statistics_are_still_until_the_epoch_of_the_thaw():
    trainer = tuned(thaw=HIDDEN, max_steps=2 * EPOCH, ema_decay=0.9)
    before = state(trainer)
    trainer.fit()
    assert not any(name.startswith("hidden.") for name in moved(before, trainer))
    assert {"out.bias", "norm.weight"} < moved(before, trainer)
    averages = trainer.updater.average.named()
    assert all(averages[n].equal(before[n]) for n in averages if n.startswith("hidden."))
    thawed = tuned(thaw=HIDDEN, max_steps=2 * EPOCH + 1)
    before = state(thawed)
    thawed.fit()
    assert {n for n in before if n.startswith("hidden.")} < moved(before, thawed)


def test_trying_a_pass_leaves_frozen_parts_in_evaluation_mode():
    """As where processes make their replica of the model anew, after they entered an epoch."""
    trainer = tuned(thaw=HIDDEN)
    trainer.updater.enter_epoch(0)
    with untouched(trainer.raw_model):
        pass
    assert trainer.raw_model.training
    assert not trainer.raw_model.hidden[1].training


def test_a_frozen_part_has_no_gradient_and_the_updates_before_and_after_are_plain():
    trainer = tuned(thaw=HIDDEN, max_steps=3 * EPOCH, optimizer=AdamWConfig())
    update, seen = trainer.update, []

    def watch(micro_batches):
        update(micro_batches)
        hidden = trainer.raw_model.hidden[0].weight
        steps = trainer.updater.optimizer.state.get(hidden, {}).get("step", torch.zeros(()))
        seen.append((hidden.requires_grad, trainer.raw_model.hidden[1].training, int(steps)))

    trainer.update = watch
    trainer.fit()
    assert seen[: 2 * EPOCH] == [(False, False, 0)] * 2 * EPOCH
    assert seen[2 * EPOCH :] == [(True, True, n) for n in range(1, EPOCH + 1)]


def test_a_frozen_part_keeps_its_dropout_and_all_of_it_after_a_validation():
    trainer = tuned(0.5, freeze=("hidden.*",), max_steps=4, validate_every_steps=2)
    trainer.fit()
    linear, norm, dropout = trainer.raw_model.hidden
    assert (linear.training, norm.training, dropout.training) == (True, False, True)


def test_statistics_alone_can_be_frozen():
    trainer = tuned(freeze=("hidden.1.running_*",), max_steps=2)
    before = state(trainer)
    trainer.fit()
    assert moved(before, trainer) == set(before) - {
        "hidden.1.running_mean",
        "hidden.1.running_var",
        "hidden.1.num_batches_tracked",
    }


def test_the_longest_freeze_counts():
    trainer = tuned(freeze=("hidden.0.*",), thaw={"hidden.*": 2}, max_steps=EPOCH + 1)
    before = state(trainer)
    trainer.fit()
    still = {"hidden.0.weight", "hidden.0.bias"}
    assert not still & moved(before, trainer)
    assert "hidden.1.running_mean" in moved(before, trainer)


@pytest.mark.parametrize(
    "optimizer",
    [SgdConfig(learning_rate=0.1, momentum=0.9), AdamWConfig(), AdafactorConfig(), MuonConfig()],
    ids=lambda c: c.kind,
)
def test_resuming_before_at_and_after_a_thaw_equals_never_stopping(tmp_path, optimizer):
    config = {
        "thaw": {**HIDDEN, "norm.*": 2},
        "learning_rates": {"hidden.*": 0.3, "*.bias": 2.0},
        "optimizer": optimizer,
        "ema_decay": 0.9,
    }
    task = toy_task(accumulate=2)  # 5 updates an epoch
    straight = tuned(0.3, task=task, max_steps=14, **config)
    straight.fit()
    for steps in (3, 5, 7, 10, 12, 14):
        run = toy_run(tmp_path / "run")
        resumed = tuned(0.3, task=task, run=run, max_steps=steps, **config)
        assert resumed.resume() is (steps > 3)
        resumed.fit()
    found, expected = all_state(resumed), all_state(straight)
    assert found.keys() == expected.keys()
    assert [name for name, tensor in expected.items() if not found[name].equal(tensor)] == []


def test_a_factor_scales_the_step_of_what_it_names():
    plain, scaled = tuned(max_steps=1), tuned(max_steps=1, learning_rates={"hidden.*": 0.125})
    before = {n: p.detach().clone() for n, p in plain.raw_model.named_parameters()}
    plain.fit()
    scaled.fit()
    found = dict(scaled.raw_model.named_parameters())
    for name, parameter in plain.raw_model.named_parameters():
        rate = 0.5 * (0.125 if name.startswith("hidden.") else 1.0)
        gradient = (before[name] - parameter.detach()) / 0.5
        expected = before[name] - rate * gradient
        torch.testing.assert_close(found[name].detach(), expected, atol=1e-7, rtol=1e-5)


def rates(trainer):
    names = {p: n for n, p in trainer.raw_model.named_parameters()}
    groups = trainer.updater.optimizer.param_groups
    return {names[p]: (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}


def test_the_last_pattern_counts_and_decay_and_the_log_are_as_without():
    lines = []
    trainer = tuned(
        optimizer=AdamWConfig(learning_rate=0.01, weight_decay=0.3),
        schedule=LinearConfig(warmup_steps=4),
        learning_rates={"embedding.*": 0.5, "hidden.*": 0.1, "hidden.0.*": 0.2},
        max_steps=8,
        log_every_steps=1,
    )
    trainer.loggers = [type("Log", (), {"log": lambda _, _step, values: lines.append(values)})()]
    trainer.update([trainer.task.train])
    assert rates(trainer) == {
        "embedding.weight": pytest.approx((0.5 * 0.0025, 0.3)),
        "hidden.0.weight": pytest.approx((0.2 * 0.0025, 0.3)),
        "hidden.0.bias": pytest.approx((0.2 * 0.0025, 0.0)),
        "hidden.1.weight": pytest.approx((0.1 * 0.0025, 0.0)),
        "hidden.1.bias": pytest.approx((0.1 * 0.0025, 0.0)),
        "norm.weight": pytest.approx((0.0025, 0.0)),
        "norm.bias": pytest.approx((0.0025, 0.0)),
        "out.bias": pytest.approx((0.0025, 0.0)),
    }
    trainer.fit()
    logged = [line["train/learning_rate"] for line in lines if "train/learning_rate" in line]
    assert logged == pytest.approx([0.005, 0.0075, 0.01, 0.0075, 0.005, 0.0025, 0.0], abs=1e-12)


def test_adafactors_own_cap_is_scaled_too():
    """Its step is relative to the weight and, with gradients all alike, as large as the rate."""

    def last_step(factor):
        model = nn.Linear(2, 2, bias=False)
        nn.init.constant_(model.weight, 3.0)
        optimizer = build_optimizer(AdafactorConfig(learning_rate=0.9), model, {"*": factor})
        for step in range(1, 10):
            before = model.weight.detach().clone()
            model.weight.grad = torch.ones(2, 2)
            set_rates(optimizer, 0.9, step)
            optimizer.step()
        return ((before - model.weight.detach()) / before).mean().item()

    assert last_step(1.0) == pytest.approx(1 / 3, rel=1e-3)
    assert last_step(0.25) == pytest.approx(1 / 12, rel=1e-3)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"freeze": ("hiden.*",)}, "freeze: no parameter or buffer matches 'hiden.*'; there are hidden."),
        ({"thaw": {"*": 2}}, "freeze: * leave no parameter to train in the first epoch"),
        ({"thaw": {"hiden.*": 2}}, "thaw: no parameter or buffer matches 'hiden.*'; there are hidden."),
        ({"learning_rates": {"hidden.1.wieght": 0.1}}, "learning_rates: no parameter matches 'hidden.1.wieght'; there are hidden.1.weight, "),
        ({"learning_rates": {"seen": 0.1}}, "learning_rates: no parameter matches 'seen'"),
    ],
)  # fmt: skip
def test_a_pattern_that_helps_nobody_is_one_line(config, message):
    with pytest.raises(TrainingError) as caught:
        tuned(**config)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rates: {a: 0}", "t:2: learning_rates.a must be a number of more than 0, not 0"),
        ("learning_rates: [a]", "t:2: learning_rates must be a mapping, not a list of 1"),
        ("thaw: {a: 1}", "t:2: thaw.a must be a whole number of 2 or more, not 1"),
    ],
)  # fmt: skip
def test_what_a_recipe_can_not_say(text, message):
    with pytest.raises(RecipeError) as caught:
        loads(TrainingConfig, f"max_steps: 1\n{text}\n", "t")
    assert message in str(caught.value).splitlines()
