"""Learning rate as a pure function of the step, so that no checkpoint holds a scheduler.

Steps count from 1: ``schedule(1)`` is the rate of the first update. Every schedule rises
linearly to its peak, the optimizer's ``learning_rate``, which it reaches at ``warmup_steps``.
With ``horizon: minutes`` it is a function of the step and of the seconds spent training.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol, assert_never

from annotated_types import Gt, Le, Lt

from seqtrans.config.types import Fraction, NonNegative, Positive

Horizon = Literal["steps", "epochs", "minutes"]


class Schedule(Protocol):
    """The learning rate of an update."""

    def __call__(self, step: int, seconds: float = 0.0, /) -> float:
        """Return the rate of update ``step`` (from 1), ``seconds`` of training after the start."""
        ...


@dataclass(frozen=True, kw_only=True)
class InverseSquareRootConfig:
    """``peak * sqrt(warmup_steps / step)`` after the warm-up (arXiv:1706.03762, 5.3)."""

    kind: Literal["inverse_square_root"] = "inverse_square_root"
    warmup_steps: Positive = 4000


@dataclass(frozen=True, kw_only=True)
class DecayConfig:
    """What all decays with an end have in common."""

    warmup_steps: NonNegative = 0
    decay_steps: Positive | None = None  # step where the floor is reached; None: max_steps
    final_fraction: Fraction = 0.0  # of the peak, at the end
    horizon: Horizon = "steps"
    """What decides how far the decay is. epochs: it ends with ``training.max_epochs``. minutes: the
    share of ``training.max_minutes`` that is over, so that it ends when the time does, on a slow
    and on a fast machine. A resumed run then ends in the same bits only if its steps take the same
    time."""


@dataclass(frozen=True, kw_only=True)
class CosineConfig(DecayConfig):
    """Half a cosine from the peak down to ``final_fraction`` of it (arXiv:1608.03983)."""

    kind: Literal["cosine"] = "cosine"


@dataclass(frozen=True, kw_only=True)
class LinearConfig(DecayConfig):
    """A straight line from the peak down to ``final_fraction`` of it."""

    kind: Literal["linear"] = "linear"


@dataclass(frozen=True, kw_only=True)
class WarmupStableDecayConfig(DecayConfig):
    """The peak, and at the end a straight line down to ``final_fraction`` (arXiv:2404.06395)."""

    kind: Literal["warmup_stable_decay"] = "warmup_stable_decay"
    decay_share: Annotated[float, Gt(0.0), Le(1.0)] = 0.2  # of what follows the warm-up


@dataclass(frozen=True, kw_only=True)
class ConstantConfig:
    """The peak for ever."""

    kind: Literal["constant"] = "constant"
    warmup_steps: NonNegative = 0


@dataclass(frozen=True, kw_only=True)
class PlateauConfig:
    """The peak, multiplied by ``factor`` whenever the stopping metric stands still.

    That happens after each ``patience`` validations in a row without a gain; the product of
    the factors is ``TrainState.lr_scale``, the one number a schedule has to remember.
    """

    kind: Literal["plateau"] = "plateau"
    warmup_steps: NonNegative = 0
    factor: Annotated[float, Gt(0.0), Lt(1.0)] = 0.5
    patience: Positive = 3  # validations
    min_scale: Fraction = 0.001  # lr_scale never falls below


DecayingConfig = CosineConfig | LinearConfig | WarmupStableDecayConfig
ScheduleConfig = InverseSquareRootConfig | DecayingConfig | ConstantConfig | PlateauConfig


def build_schedule(
    config: ScheduleConfig,
    peak: float,
    max_steps: int | None,
    max_minutes: float | None = None,
    epoch_steps: int | None = None,
) -> Schedule:
    """Build the function that a config describes.

    Args:
        config: Shape of the curve.
        peak: Rate at the end of the warm-up.
        max_steps: Where a decay over steps ends that names no ``decay_steps`` of its own.
        max_minutes: When a decay over minutes ends.
        epoch_steps: Updates of all epochs, where a decay over epochs ends.

    Raises:
        ValueError: A decay has no end, or ends before its warm-up.
    """
    warmup = config.warmup_steps
    match config:
        case InverseSquareRootConfig():
            return lambda step, _=0.0: peak * min(step / warmup, math.sqrt(warmup / step))
        case CosineConfig() | LinearConfig() | WarmupStableDecayConfig():
            if config.horizon == "minutes":
                progress = _progress_by_time(config, max_minutes)
            else:
                by_epochs = config.horizon == "epochs"
                progress = _progress_by_step(config, epoch_steps if by_epochs else max_steps)
            curve, floor = _curve(config), config.final_fraction
            return lambda step, seconds=0.0: (
                peak
                * _warmed(step, warmup)
                * (floor + (1.0 - floor) * curve(progress(step, seconds)))
            )
        case ConstantConfig() | PlateauConfig():
            return lambda step, _=0.0: peak * _warmed(step, warmup)
        case _:
            assert_never(config)


def lower_on_plateau(config: ScheduleConfig, lr_scale: float, waited: int) -> float:
    """Return ``lr_scale`` after ``waited`` validations in a row without a gain."""
    if not isinstance(config, PlateauConfig) or waited == 0 or waited % config.patience:
        return lr_scale
    return max(lr_scale * config.factor, config.min_scale)


def _progress_by_time(
    config: DecayingConfig, max_minutes: float | None
) -> Callable[[int, float], float]:
    """Return the share of ``max_minutes``, 0 to 1, that is over at a step and a time in seconds."""
    if max_minutes is None:
        raise ValueError(f"schedule '{config.kind}' with horizon minutes needs max_minutes")
    _refuse_decay_steps(config)
    return lambda _, seconds: min(1.0, seconds / (60.0 * max_minutes))


def _progress_by_step(config: DecayingConfig, last: int | None) -> Callable[[int, float], float]:
    """Return the share of the steps after the warm-up, 0 to 1, that is over at a step."""
    if config.horizon == "epochs":
        if last is None:
            raise ValueError(f"schedule '{config.kind}' with horizon epochs needs max_epochs")
        _refuse_decay_steps(config)
    warmup, end = config.warmup_steps, config.decay_steps or last
    if end is None:
        raise ValueError(
            f"schedule '{config.kind}' needs decay_steps, max_steps, or horizon: minutes or epochs "
            "to end at"
        )
    if end <= warmup:
        raise ValueError(
            f"schedule '{config.kind}' ends at step {end}, within its warmup_steps {warmup}"
        )
    return lambda step, _: min(1.0, max(0.0, (step - warmup) / (end - warmup)))


def _refuse_decay_steps(config: DecayingConfig) -> None:
    if config.decay_steps is not None:
        raise ValueError(
            f"schedule '{config.kind}' has decay_steps and horizon {config.horizon}: "
            "give one of them"
        )


def _warmed(step: int, warmup: int) -> float:
    return min(1.0, step / warmup) if warmup else 1.0


def _curve(config: DecayingConfig) -> Callable[[float], float]:
    """Return the function from the share of a decay that is over to a share of the peak."""
    match config:
        case CosineConfig():
            return lambda progress: 0.5 * (1.0 + math.cos(math.pi * progress))
        case LinearConfig():
            return lambda progress: 1.0 - progress
        case WarmupStableDecayConfig():
            return lambda progress: min(1.0, (1.0 - progress) / config.decay_share)
