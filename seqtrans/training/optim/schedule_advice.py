"""What a schedule comes to in the updates that a training has, before the first is made."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

from seqtrans.training.config import TrainingConfig
from seqtrans.training.optim.schedule import DecayConfig, Schedule, ScheduleConfig

_LATE = 0.9
"""Share of a training that a decay to nothing may end before without a word."""
_UNDONE = 0.1
"""Share of the peak by which a decay may miss its end without a word."""


def warn_of_rates(
    config: TrainingConfig, updates_in: Callable[[int], int], warn: Callable[[str], None]
) -> None:
    """Warn where the learning rate will not do in a training what its schedule is for.

    Args:
        config: The training; without ``max_steps`` and ``max_epochs`` nothing is known of it.
        updates_in: Counts the updates of the first epochs.
        warn: Is called with each warning.
    """
    updates = planned_updates(config, updates_in)
    if updates is None:
        return
    by_shares = replace(config, optimizer=replace(config.optimizer, learning_rate=1.0))
    schedule = by_shares.build_schedule(updates_in)
    for warning in rate_doubts(config.schedule, schedule, updates):
        warn(f"training.schedule: {warning}")


def planned_updates(config: TrainingConfig, updates_in: Callable[[int], int]) -> int | None:
    """Return how many updates a training has unless it stops early; None: unknown."""
    limits = [config.max_steps] if config.max_steps else []
    if config.max_epochs:
        limits.append(updates_in(config.max_epochs))
    return min(limits, default=None)


def rate_doubts(config: ScheduleConfig, schedule: Schedule, updates: int) -> Iterator[str]:
    """Say what a schedule leaves undone, a line each.

    Args:
        config: The schedule.
        schedule: Its function, with the peak 1.
        updates: How many there will be.
    """
    warmup, last = config.warmup_steps, schedule(updates)
    if warmup > updates / 2:
        share = "all" if warmup >= updates else "more than half"
        yield (
            f"warmup_steps {warmup:,} is {share} of this training, which has about {updates:,} "
            f"updates: the last has {_percent(last)} of the learning rate; set warmup_steps to "
            f"{math.ceil(updates / 10):,}, or kind: constant"
        )
    elif isinstance(config, DecayConfig) and config.horizon == "steps":
        yield from _decay_doubts(config, schedule, updates)


def _decay_doubts(config: DecayConfig, schedule: Schedule, updates: int) -> Iterator[str]:
    last, floor, end = schedule(updates), config.final_fraction, config.decay_steps
    if last - floor > _UNDONE:
        yield (
            f"the learning rate does not fall as far as it should: this training ends after about "
            f"{updates:,} updates, at {_percent(last)}, and not {_percent(floor)}, of the peak; "
            f"set decay_steps to {updates:,}"
        )
    elif floor == 0 and end is not None and end < _LATE * updates:
        yield (
            f"decay_steps {end:,}: from there on the learning rate is 0 and nothing is learnt, but "
            f"this training has about {updates:,} updates; set decay_steps to {updates:,}, or "
            "final_fraction to more than 0"
        )


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
