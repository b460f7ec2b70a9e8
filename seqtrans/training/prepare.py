"""What a trainer needs; make a fresh model and place it on its device."""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import nn

from seqtrans.protocols import Task
from seqtrans.runtime.device import substitution
from seqtrans.runtime.out_of_memory import enough_memory
from seqtrans.training.checkpoints.provenance import Origins
from seqtrans.training.config import TrainingConfig
from seqtrans.training.distributed.process_group import TorchProcessGroup
from seqtrans.training.distributed.wrappers import shard_weights

ModuleT = TypeVar("ModuleT", bound=nn.Module)
logger = logging.getLogger(__name__)

TOO_LARGE = "the model does not fit into memory; make it smaller"


@dataclass(frozen=True)
class Prepared:
    """What a trainer needs, and what is tried before it starts."""

    group: TorchProcessGroup
    task: Task[Any]
    model: nn.Module  # on the device of the training, sharded if configured
    origins: Origins
    updates_in: Callable[[int], int]
    """Returns the number of updates in an epoch; an estimate if that is random."""
    rehearse: Callable[[TorchProcessGroup], None] | None = None
    """Tries what validation does, such as decoding; every process must call it."""


def fresh_model(build: Callable[[], ModuleT], config: TrainingConfig) -> ModuleT:
    """Return a model with weights drawn by the seed, on the CPU; log its size.

    Raises:
        TrainingError: It does not fit into memory.
    """
    torch.manual_seed(config.seed)
    with enough_memory(lambda: TOO_LARGE):
        model = build()
    count, device = sum(parameter.numel() for parameter in model.parameters()), local_device()
    logger.info("model: %s parameters, on %s", f"{count:,}", device)
    if message := substitution(config.precision, device):
        logger.info("%s", message)
    return model


def place_model(model: nn.Module, config: TrainingConfig, group: TorchProcessGroup) -> None:
    """Place a model on the device of its training: all of it, or this process's shards.

    Args:
        model: The model, on the CPU.
        config: The training config.
        group: The process group.

    Raises:
        TrainingError: It does not fit into memory.
    """
    with enough_memory(lambda: TOO_LARGE):
        if not config.processes.shards(group.world_size):
            model.to(local_device())
            return
        shard_weights(model, config.processes, group, local_device())
    logger.info("weights: shared out to %d processes", group.world_size)


def local_device() -> torch.device:
    """Return this process's GPU, of several processes on a machine each has one; or the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
