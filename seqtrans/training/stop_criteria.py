"""What is due after a step, when a run is over, and how far away that is."""

from dataclasses import dataclass
from enum import Enum
from signal import Signals

from seqtrans.training.config import TrainingConfig
from seqtrans.training.state import TrainState


class StopReason(Enum):
    """Why training ended."""

    STEPS = "max_steps reached"
    EPOCHS = "max_epochs reached"
    MINUTES = "max_minutes reached"
    PATIENCE = "no gain within patience"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Outcome:
    """How ``Trainer.fit`` ended."""

    reason: StopReason
    state: TrainState
    signal: Signals | None = None  # that interrupted it


def limit_reached(config: TrainingConfig, state: TrainState) -> StopReason | None:
    """Which limit ends the run now, if any."""
    if config.max_steps is not None and state.step >= config.max_steps:
        return StopReason.STEPS
    if config.max_epochs is not None and state.epoch >= config.max_epochs:
        return StopReason.EPOCHS
    is_judged = state.validated_step == state.step
    if is_judged and state.stopping.should_stop(config.stopping, state.epoch, state.step):
        return StopReason.PATIENCE
    return None


def is_out_of_time(config: TrainingConfig, state: TrainState) -> bool:
    """Whether ``max_minutes`` have passed."""
    return config.max_minutes is not None and state.seconds >= 60.0 * config.max_minutes


def is_validation_due(config: TrainingConfig, state: TrainState, reason: StopReason | None) -> bool:
    """Whether to validate before going on, or before ending for ``reason``."""
    if state.validated_step == state.step or reason is StopReason.INTERRUPTED:
        return False
    every = config.validate_every_steps
    is_regular = state.step % every == 0 if every else state.updates_in_epoch == 0
    return is_regular or reason is not None


def is_save_due(config: TrainingConfig, state: TrainState) -> bool:
    """Whether to write a checkpoint even where there is no validation."""
    wanted = config.checkpoints
    if wanted.keep_every_epoch and state.updates_in_epoch == 0:
        return True
    return wanted.every_steps is not None and state.step % wanted.every_steps == 0


def seconds_left(config: TrainingConfig, state: TrainState, pace: float) -> float | None:
    """Seconds until the nearest limit at ``pace`` seconds per step; None: can't tell yet.

    How many steps an epoch has is known once one is over. Early stopping is not foreseen.
    """
    left: list[float] = []
    if config.max_steps is not None:
        left.append(pace * (config.max_steps - state.step))
    if config.max_epochs is not None and state.epoch > 0:
        steps_per_epoch = (state.step - state.updates_in_epoch) / state.epoch
        left.append(pace * (config.max_epochs * steps_per_epoch - state.step))
    if config.max_minutes is not None:
        left.append(60.0 * config.max_minutes - state.seconds)
    return max(0.0, min(left)) if left else None
