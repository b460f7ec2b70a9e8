import math

import pytest

from seqtrans.training.config import TrainingConfig
from seqtrans.training.optim.schedule import (
    ConstantConfig,
    CosineConfig,
    InverseSquareRootConfig,
    LinearConfig,
    PlateauConfig,
    WarmupStableDecayConfig,
    build_schedule,
    lower_on_plateau,
)

PEAK = 2e-3
DECAYING = [
    InverseSquareRootConfig(warmup_steps=10),
    CosineConfig(warmup_steps=10),
    LinearConfig(warmup_steps=10),
    WarmupStableDecayConfig(warmup_steps=10),
]
ALL = [*DECAYING, ConstantConfig(warmup_steps=10), PlateauConfig(warmup_steps=10)]


@pytest.mark.parametrize("config", ALL, ids=lambda c: c.kind)
def test_every_schedule_rises_linearly_to_its_peak(config):
    rate = build_schedule(config, PEAK, 100)
    assert [rate(step) / PEAK for step in (1, 5, 10)] == pytest.approx([0.1, 0.5, 1.0])
    assert max(map(rate, range(1, 200))) == pytest.approx(PEAK)


@pytest.mark.parametrize("config", DECAYING, ids=lambda c: c.kind)
def test_decaying_schedules_never_rise_after_the_warm_up(config):
    rates = [build_schedule(config, PEAK, 100)(step) for step in range(10, 150)]
    assert rates == sorted(rates, reverse=True)
    assert min(rates) >= 0.0


def test_inverse_square_root_is_that_of_the_transformer():
    # arXiv:1706.03762, equation 3, whose peak is (model_dim * warmup_steps) ** -0.5
    dim, warmup = 512, 4000
    rate = build_schedule(
        InverseSquareRootConfig(warmup_steps=warmup), (dim * warmup) ** -0.5, None
    )
    for step in (1, 100, 4000, 4001, 100_000):
        assert rate(step) == pytest.approx(
            dim**-0.5 * min(step**-0.5, step * warmup**-1.5), rel=1e-12
        )


def test_cosine_and_linear_pass_through_known_points_and_stay_at_their_floor():
    cosine = build_schedule(CosineConfig(warmup_steps=20, final_fraction=0.1), 1.0, 100)
    assert cosine(60) == pytest.approx(0.55)
    assert cosine(40) == pytest.approx(0.1 + 0.9 * (1 + math.sqrt(0.5)) / 2)
    assert cosine(100) == cosine(1000) == pytest.approx(0.1)
    line = build_schedule(LinearConfig(decay_steps=50, final_fraction=0.2), 1.0, 10)
    assert [line(25), line(50), line(99)] == pytest.approx([0.6, 0.2, 0.2])
    late = build_schedule(
        WarmupStableDecayConfig(warmup_steps=20, decay_share=0.5, final_fraction=0.2), 1.0, 100
    )
    assert [late(s) for s in (20, 60, 80, 100)] == pytest.approx([1.0, 1.0, 0.6, 0.2])


def test_a_decay_needs_an_end_after_its_warm_up():
    with pytest.raises(ValueError, match="needs decay_steps, max_steps, or horizon"):
        build_schedule(CosineConfig(), 1.0, None)
    with pytest.raises(ValueError, match="ends at step 50, within its warmup_steps 50"):
        build_schedule(LinearConfig(warmup_steps=50), 1.0, 50)


@pytest.mark.parametrize(
    "config",
    [CosineConfig, LinearConfig, WarmupStableDecayConfig],
    ids=lambda c: c.__name__,
)
def test_a_decay_over_minutes_is_that_over_steps_at_an_even_pace(config):
    by_time = build_schedule(config(horizon="minutes"), PEAK, None, max_minutes=5.0)
    by_step = build_schedule(config(), PEAK, 600)  # 2 steps a second
    for step in (1, 150, 300, 599, 600, 700):
        assert by_time(step, step / 2) == pytest.approx(by_step(step), abs=1e-12)
    warmed = build_schedule(config(horizon="minutes", warmup_steps=10), PEAK, None, max_minutes=5.0)
    assert warmed(5, 150.0) == pytest.approx(by_time(10, 150.0) / 2)


def test_a_decay_over_minutes_needs_them_and_no_other_end():
    with pytest.raises(ValueError, match="horizon minutes needs max_minutes"):
        build_schedule(LinearConfig(horizon="minutes"), 1.0, 100)
    with pytest.raises(ValueError, match="decay_steps and horizon minutes: give one"):
        build_schedule(CosineConfig(horizon="minutes", decay_steps=9), 1.0, None, 1.0)


def test_a_decay_over_epochs_ends_with_them():
    by_epoch = build_schedule(LinearConfig(horizon="epochs", warmup_steps=5), 1.0, 9, None, 70)
    by_step = build_schedule(LinearConfig(warmup_steps=5), 1.0, 70)
    assert all(by_epoch(step) == by_step(step) for step in range(1, 80))
    with pytest.raises(ValueError, match="horizon epochs needs max_epochs"):
        TrainingConfig(schedule=LinearConfig(horizon="epochs"), max_steps=100)
    with pytest.raises(ValueError, match="decay_steps and horizon epochs: give one"):
        TrainingConfig(schedule=LinearConfig(horizon="epochs", decay_steps=9), max_epochs=3)


def test_plateau_lowers_after_every_patience_and_not_below_its_floor():
    config = PlateauConfig(factor=0.1, patience=2, min_scale=0.005)
    scale, scales = 1.0, []
    for waited in (0, 1, 2, 3, 4, 0, 1, 2, 3, 4):
        scale = lower_on_plateau(config, scale, waited)
        scales.append(scale)
    assert scales == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.005, 0.005, 0.005])
    assert lower_on_plateau(ConstantConfig(), 0.5, 2) == 0.5
