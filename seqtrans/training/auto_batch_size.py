"""What ``auto`` means for the size of a batch: the largest that fits, up to a bound.

The bound is larger on a GPU, since on a CPU large batches are hardly faster; in training it is also
a hundredth of an epoch, so that an epoch has at least a hundred updates. Sizes are measured before
training, and the run stores them as numbers.
"""

import dataclasses
import logging
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import nn

from seqtrans import config
from seqtrans.errors import TrainingError
from seqtrans.protocols import BatchT, ProcessGroup, Task
from seqtrans.runtime.files.atomic_files import write_atomically
from seqtrans.runtime.memory import largest_that_fits
from seqtrans.training.checkpoints.run_directory import RunDirectory
from seqtrans.training.config import TrainingConfig
from seqtrans.training.preflight import batch_fits, reserved_memory

T = TypeVar("T")
logger = logging.getLogger(__name__)
SIZES = ("batch_tokens", "batch_size")
_UPDATES = 100  # in an epoch, at least


class SizeRange(NamedTuple):
    """Sizes that ``auto`` chooses from."""

    least: int
    most_on_cpu: int
    most_on_gpu: int

    def most_on(self, device: torch.device) -> int:
        """Return the largest on ``device``."""
        return self.most_on_cpu if device.type == "cpu" else self.most_on_gpu


def largest_training(
    make: Callable[[int], Task[BatchT]],
    model: nn.Module,
    config: TrainingConfig,
    *,
    sizes: SizeRange,
    epoch: int,
) -> int:
    """Return the largest size of the micro-batches of training; nothing is learnt.

    Args:
        make: The task with batches of a size.
        model: What will learn, where it will.
        config: How.
        sizes: To choose from.
        epoch: How many tokens or images an epoch has for each micro-batch of an update.
    """
    device = next(model.parameters()).device
    most = min(sizes.most_on(device), epoch // _UPDATES)
    reserved = reserved_memory(model, config)

    def fits(size: int) -> bool:
        return batch_fits(make(size), model, config, reserved)

    return largest_that_fits(fits, sizes.least, max(sizes.least, most), device, reserved)


def agreed_size(name: str, size: int, group: ProcessGroup) -> int:
    """Return the least of the sizes that the processes found; every process must call it."""
    least = min(map(int, group.gather(str(size))))
    logger.info("%s: auto: %s", name, f"{least:,}")
    return least


def store_resolved(run: RunDirectory, recipe: object) -> None:
    """Store a recipe with the numbers, so that a run that goes on or is repeated is the same.

    Raises:
        TrainingError: The run directory can't be written.
    """
    try:
        write_atomically(run.recipe, config.dump(recipe))
    except OSError as error:
        raise TrainingError(f"{run.recipe} can't be written: {error.strerror or error}") from error


def with_resolved_sizes_of(recipe: T, stored: T) -> T:
    """Return a recipe with its ``auto`` sizes those of ``stored``, a recipe of the same kind."""
    if type(recipe) is not type(stored) or not dataclasses.is_dataclass(recipe):
        return recipe
    parts: dict[str, Any] = {}
    for field in filter(lambda field: field.init, dataclasses.fields(recipe)):
        value, other = getattr(recipe, field.name), getattr(stored, field.name)
        is_open = field.name in SIZES and value == "auto"
        parts[field.name] = other if is_open else with_resolved_sizes_of(value, other)
    return cast("T", dataclasses.replace(cast("Any", recipe), **parts))
