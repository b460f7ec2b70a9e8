"""What to say of a loss or a gradient that is not finite."""

import math
from collections.abc import Sequence

import torch

from seqtrans.protocols import Batch
from seqtrans.shapes import Float, Tensor
from seqtrans.training.config import TrainingConfig


def complaint(
    losses: Sequence[Float[Tensor, ""]], norm: Float[Tensor, ""], micro_batches: Sequence[Batch]
) -> str:
    """Which micro-batch gave a loss that is not finite, or that the gradient isn't; else empty.

    Reading the numbers is the one synchronisation with a CUDA device per update.
    """
    *values, size = torch.stack([*(loss.float() for loss in losses), norm.float()]).tolist()
    for i, (value, batch) in enumerate(zip(values, micro_batches, strict=True), start=1):
        if not math.isfinite(value):
            of = f"{i} of {len(values)} ({batch.num_targets} targets)"
            return f"the loss is {value} in micro-batch {of}"
    return "" if math.isfinite(size) else f"the norm of the gradient is {size}"


def remedy(config: TrainingConfig, *, bf16: bool) -> str:
    """What may help, of what is not done already."""
    clipping = "lower" if config.clip_norm is not None else "set"
    parts = [
        "lower optimizer.learning_rate",
        "raise schedule.warmup_steps",
        f"{clipping} clip_norm",
    ]
    *most, last = [*parts, "set precision to fp32"] if bf16 else parts
    return f"{', '.join(most)} or {last}"
