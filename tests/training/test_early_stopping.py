import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqtrans.errors import TrainingError
from seqtrans.training.checkpoints.store import Record, best_first, steps_to_delete
from seqtrans.training.config import CheckpointsConfig, TrainingConfig
from seqtrans.training.optim.schedule import CosineConfig
from seqtrans.training.state import TrainState
from seqtrans.training.stopping import (
    StoppingConfig,
    StoppingState,
    StopReason,
    limit_reached,
    seconds_left,
)


def observe(values, config):
    state, waited = StoppingState(), []
    for step, value in enumerate(values, start=1):
        state = state.observe(value, step, config)
        waited.append(state.waited)
    return state, waited


def test_patience_counts_validations_without_a_gain_and_nan_is_none():
    config = StoppingConfig(metric="bleu", patience=2)
    state, waited = observe([math.nan, 10.0, math.nan, 11.0, 11.0, 10.5], config)
    assert waited == [1, 0, 1, 0, 1, 2]
    assert (state.best, state.best_step, state.should_stop(config, 6, 6)) == (11.0, 4, True)


@pytest.mark.parametrize("metric", ["perplexity", "loss", "nll", "ter"])
def test_less_is_better_for_these(metric):
    state, waited = observe([3.0, 2.0, 2.5], StoppingConfig(metric=metric))
    assert (state.best, waited) == (2.0, [0, 0, 1])


def test_a_gain_must_exceed_min_gain_but_small_ones_add_up():
    config = StoppingConfig(metric="bleu", min_gain=1.0)
    state, waited = observe([10.0, 10.5, 11.5, 12.5], config)
    assert waited == [0, 1, 0, 1]  # 12.5 gains 1.0 and no more
    assert state.best == 11.5


VALUES = st.sampled_from([0.0, 1.0, 1.5, 2.0, math.inf, math.nan])
RESULTS = st.lists(st.tuples(VALUES, st.one_of(st.none(), VALUES)), max_size=12)


def is_better(one, other):
    """The order in plain words, for a metric of which more is better."""
    if one[0] != other[0]:
        return one[0] > other[0]
    losses = [math.inf if x[1] is None or math.isnan(x[1]) else x[1] for x in (one, other)]
    return losses[0] < losses[1]


def waits(results, min_gain=0.0):
    """Validations in a row without a gain, after each; what the last gain was."""
    best, waited, found = None, 0, []
    for result in results:
        is_number = not math.isnan(result[0])
        gains = best is None or (
            is_better(result, best)
            if result[0] == best[0]
            else is_better(result, best) and result[0] - best[0] > min_gain
        )
        best, waited = (result, 0) if is_number and gains else (best, waited + 1)
        found.append(waited)
    return found, best


@given(RESULTS, st.sampled_from([0.0, 0.6]), st.booleans())
def test_patience_waits_as_the_plain_order_of_metric_and_loss_says(results, min_gain, maximized):
    sign = 1.0 if maximized else -1.0
    config = StoppingConfig(metric="x", goal="max" if maximized else "min", min_gain=min_gain)
    state, waited = StoppingState(), []
    for step, (value, loss) in enumerate(results, start=1):
        state = state.observe(sign * value, step, config, loss)
        waited.append(state.waited)
    expected, best = waits(results, min_gain)
    assert waited == expected
    assert state.best == (None if best is None else sign * best[0])


def test_a_loss_that_falls_where_the_metric_is_perfect_is_waited_for_no_longer():
    config, state = StoppingConfig(metric="accuracy"), StoppingState()
    for step, loss in enumerate([0.3, 0.2, 0.1], start=1):
        state = state.observe(1.0, step, config, loss)
    assert (state.best_step, state.waited) == (1, 2)


@given(RESULTS, st.booleans())
def test_the_best_checkpoint_is_the_one_that_no_other_beats(results, maximized):
    sign = 1.0 if maximized else -1.0
    config = StoppingConfig(metric="x", goal="max" if maximized else "min")
    records = [Record(i, sign * value, loss=loss) for i, (value, loss) in enumerate(results)]
    valid = [i for i, (value, _) in enumerate(results) if not math.isnan(value)]
    expected = []
    while valid:
        best = next(i for i in valid if not any(is_better(results[j], results[i]) for j in valid))
        expected.append(best)
        valid.remove(best)
    assert [record.step for record in best_first(records, config)] == expected


def test_results_measured_otherwise_than_the_newest_are_not_compared():
    first, second = {"data.validation": "a"}, {"data.validation": "b", "x": "y"}
    unknown = Record(1, 7.0)  # of an older version: taken for comparable
    records = [unknown, Record(2, 9.0, measured=first), Record(3, 5.0, measured=second)]
    assert [r.step for r in best_first(records, BLEU)] == [1, 3]


def test_without_patience_nothing_stops():
    config = StoppingConfig(metric="bleu", patience=None)
    assert not observe([1.0] + [0.0] * 1000, config)[0].should_stop(config, 1000, 1000)


def test_patience_ends_no_run_before_its_minimum_and_only_where_it_is_judged():
    stopping = StoppingConfig(metric="bleu", patience=2, min_epochs=3, min_steps=40)
    config = TrainingConfig(max_steps=100, stopping=stopping)

    def ends(epoch, step, waited=5, validated=None):
        state = StoppingState(best=0.0, waited=waited)
        judged = step if validated is None else validated
        return limit_reached(
            config, TrainState(epoch, step=step, validated_step=judged, stopping=state)
        )

    assert ends(2, 50) is ends(3, 39) is ends(3, 40, waited=1) is ends(3, 40, validated=39) is None
    assert ends(3, 40) is StopReason.PATIENCE


def test_an_unknown_metric_needs_a_goal_and_must_be_measured():
    with pytest.raises(ValueError, match="'exact' needs a goal, max or min"):
        StoppingConfig(metric="exact")
    config = StoppingConfig(metric="exact", goal="max")
    with pytest.raises(TrainingError, match="'exact' is not measured; validation gives bleu, ter"):
        config.choose({"ter": 1.0, "bleu": 2.0})


BLEU = StoppingConfig(metric="bleu")
RECORDS = [
    Record(10, 5.0),
    Record(20, 9.0, ends_epoch=True),
    Record(30, 9.0),
    Record(35, None),
    Record(40, math.nan, ends_epoch=True),
    Record(50, 1.0),
]


def test_the_best_come_first_and_the_earlier_of_equals():
    assert [r.step for r in best_first(RECORDS, BLEU)] == [20, 30, 10, 50]
    ter = StoppingConfig(metric="ter")
    assert [r.step for r in best_first(RECORDS, ter)] == [50, 10, 20, 30]


@pytest.mark.parametrize(
    ("config", "kept"),
    [
        (CheckpointsConfig(keep_best=1, keep_last=1), {20, 50}),
        (CheckpointsConfig(keep_best=2, keep_last=3), {20, 30, 35, 40, 50}),
        (CheckpointsConfig(keep_best=0, keep_last=1), {50}),
        (CheckpointsConfig(keep_best=0, keep_last=1, keep_every_epoch=True), {20, 40, 50}),
        (CheckpointsConfig(keep_best=9, keep_last=1), {10, 20, 30, 50}),
    ],
)
def test_only_what_is_neither_best_nor_last_is_superfluous(config, kept):
    assert set(steps_to_delete(RECORDS, config, BLEU)) == {r.step for r in RECORDS} - kept


def test_contradictions_in_the_config_are_refused_naming_both_sides():
    with pytest.raises(ValueError, match="average_best 5 needs keep_best of as many, not 2"):
        CheckpointsConfig(keep_best=2, average_best=5)
    with pytest.raises(ValueError, match="average_last 3 needs keep_last of as many, not 1"):
        CheckpointsConfig(keep_best=3, average_last=3)
    with pytest.raises(ValueError, match="average_best or average_last, not both"):
        CheckpointsConfig(keep_best=2, average_best=2, keep_last=2, average_last=2)
    with pytest.raises(ValueError, match="max_steps, max_epochs or max_minutes"):
        TrainingConfig()
    with pytest.raises(ValueError, match="'cosine' needs decay_steps, max_steps, or horizon"):
        TrainingConfig(max_epochs=3, schedule=CosineConfig())


def test_the_nearest_limit_says_how_long_it_takes():
    config = TrainingConfig(max_steps=1000, max_epochs=10, max_minutes=5)
    state = TrainState(epoch=2, updates_in_epoch=20, step=120, seconds=240.0)
    assert seconds_left(config, state, pace=0.1) == pytest.approx(min(88.0, 38.0, 60.0))
    assert seconds_left(TrainingConfig(max_epochs=3), TrainState(step=5), pace=1.0) is None


def test_limits_end_a_run_when_they_are_reached_and_not_before():
    config = TrainingConfig(max_steps=10, max_epochs=3, stopping=BLEU)
    assert limit_reached(config, TrainState(epoch=2, step=9)) is None
    assert limit_reached(config, TrainState(step=10)) is StopReason.STEPS
    assert limit_reached(config, TrainState(epoch=3, step=9)) is StopReason.EPOCHS
    waited = TrainState(stopping=StoppingState(waited=10))
    assert limit_reached(config, waited) is StopReason.PATIENCE
