"""What a single process has in place of a process group and a replica: it waits for nobody."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from seqtrans.tensor_types import Tensor
from seqtrans.training.distributed.process_group import TorchProcessGroup


@dataclass(frozen=True)
class SingleProcess(TorchProcessGroup):
    """A group of one: sums are their only term. See ``protocols.ProcessGroup``."""

    rank: int = 0
    world_size: int = 1

    def sum(self, values: Sequence[float]) -> tuple[float, ...]:
        """Return ``values``."""
        return tuple(values)

    def gather(self, text: str) -> list[str]:
        """Return ``text`` alone."""
        return [text]

    def share(self, tensors: Iterable[Tensor]) -> None:
        """Do nothing."""

    def await_device(self, device: torch.device) -> None:
        """Do nothing: a GPU waits for no other process."""


SINGLE_PROCESS = SingleProcess()


@dataclass(frozen=True)
class SingleReplica:
    """The model of a single process. See ``wrappers.Replica``."""

    module: nn.Module

    def unsharded(self, *, enabled: bool = True) -> AbstractContextManager[None]:
        """Do nothing: all weights are here."""
        del enabled
        return nullcontext()
