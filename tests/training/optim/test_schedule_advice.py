"""Warnings before a training whose learning rate will not do what it is meant to."""

import pytest

from seqtrans.training.config import TrainingConfig
from seqtrans.training.optim.schedule import (
    ConstantConfig,
    CosineConfig,
    InverseSquareRootConfig,
    LinearConfig,
    PlateauConfig,
)
from seqtrans.training.optim.schedule_advice import planned_updates, warn_of_rates

KINDS = [InverseSquareRootConfig, CosineConfig, LinearConfig, ConstantConfig, PlateauConfig]


def warnings(schedule, updates_in_epoch=10, **limits):
    said = []
    config = TrainingConfig(schedule=schedule, **limits)
    warn_of_rates(config, lambda epochs: epochs * updates_in_epoch, said.append)
    return said


@pytest.mark.parametrize("kind", KINDS)
def test_a_warm_up_that_fills_the_training_is_said(kind):
    decay = {"decay_steps": 5000} if kind in (CosineConfig, LinearConfig) else {}
    schedule = kind(warmup_steps=4000, **decay)
    (said,) = warnings(schedule, max_epochs=30)
    assert said == (
        "training.schedule: warmup_steps 4,000 is all of this training, which has about 300 "
        "updates: the last has 7.5 % of the learning rate; set warmup_steps to 30, or kind: "
        "constant"
    )
    assert "more than half" in warnings(schedule, max_epochs=500)[0]
    assert not any("warmup" in line for line in warnings(schedule, max_epochs=800))


@pytest.mark.parametrize("kind", [CosineConfig, LinearConfig])
def test_a_decay_that_misses_the_end_of_training_is_said(kind):
    assert "set decay_steps to 300" in warnings(kind(decay_steps=1000), max_epochs=30)[0]
    assert "ends after about 300 updates" in warnings(kind(), max_epochs=30, max_steps=900)[0]
    assert "nothing is learnt" in warnings(kind(decay_steps=200), max_epochs=30)[0]
    assert warnings(kind(decay_steps=200, final_fraction=0.1), max_epochs=30) == []
    assert warnings(kind(decay_steps=300), max_epochs=30) == []
    assert warnings(kind(), max_steps=300) == []


def test_the_first_limit_counts_and_time_is_not_foreseen():
    def planned(**limits):
        return planned_updates(TrainingConfig(**limits), lambda epochs: 10 * epochs)

    assert planned(max_steps=50) == 50
    assert planned(max_steps=50, max_epochs=4) == 40
    assert planned(max_steps=30, max_epochs=4, max_minutes=1) == 30
    assert planned(max_minutes=1) is None
    assert warnings(InverseSquareRootConfig(), max_minutes=1) == []
