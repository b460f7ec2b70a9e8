"""Describe a loss or a gradient that is not finite."""

import math
from collections.abc import Sequence

from seqtrans.training.config import TrainingConfig


def describe(losses: Sequence[float], norm: float, num_targets: Sequence[int]) -> str:
    """Return which micro-batch gave a loss that is not finite, or that the gradient is not.

    It is empty where all are.
    """
    for i, (loss, count) in enumerate(zip(losses, num_targets, strict=True), start=1):
        if not math.isfinite(loss):
            of = f"{i} of {len(losses)} ({count} targets)"
            return f"the loss is {loss} in micro-batch {of}"
    return "" if math.isfinite(norm) else f"the norm of the gradient is {norm}"


def advice(config: TrainingConfig, *, bf16: bool) -> str:
    """Return what may help, of what is not done already."""
    clipping = "lower" if config.clip_norm is not None else "set"
    parts = [
        "lower optimizer.learning_rate",
        "raise schedule.warmup_steps",
        f"{clipping} clip_norm",
    ]
    *most, last = [*parts, "set precision to fp32"] if bf16 else parts
    return f"{', '.join(most)} or {last}"
