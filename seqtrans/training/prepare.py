"""What a trainer needs, and a fresh model brought to where it will learn."""

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
    """What a trainer needs, and what checks before it starts."""

    group: TorchProcessGroup
    task: Task[Any]
    model: nn.Module  # on the device where it shall learn, shared out where that is wanted
    origins: Origins
    updates_in_epoch: Callable[[], int]
    """Counts the updates of an epoch; about, where their number is drawn."""
    rehearse: Callable[[TorchProcessGroup], None] | None = None
    """Tries what validation does with the model besides calling it; every process must call it."""


def fresh_model(build: Callable[[], ModuleT], config: TrainingConfig) -> ModuleT:
    """Return a model with weights drawn by the seed, on the CPU; say how large it is.

    Raises:
        TrainingError: It does not fit into memory.
    """
    torch.manual_seed(config.seed)
    with enough_memory(lambda: TOO_LARGE):
        model = build()
    count, device = sum(parameter.numel() for parameter in model.parameters()), own_device()
    logger.info("model: %s parameters, on %s", f"{count:,}", device)
    if said := substitution(config.precision, device):
        logger.info("%s", said)
    return model


def place_model(model: nn.Module, config: TrainingConfig, group: TorchProcessGroup) -> None:
    """Bring a model to where it will learn: all of it, or this process's parts alone.

    Args:
        model: On the CPU.
        config: How it will learn.
        group: This process.

    Raises:
        TrainingError: It does not fit into memory.
    """
    with enough_memory(lambda: TOO_LARGE):
        if not config.processes.shards(group.world_size):
            model.to(own_device())
            return
        shard_weights(model, config.processes, group, own_device())
    logger.info("weights: shared out to %d processes", group.world_size)


def own_device() -> torch.device:
    """Return a GPU where there is one: of several processes on a machine, each has its own."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
