"""Processes that train one model together, over ``torch.distributed``.

Batch normalisation normalises every micro-batch by itself, in whichever process, so the gradient is
that of one process with the same micro-batches. The running statistics are those of the first
process: it saves them, and all judge by them.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from seqtrans.protocols import Shard


@dataclass(frozen=True)
class ProcessShard:
    """This process among all of a run. See ``protocols.Shard``."""

    rank: int = 0
    world: int = 1

    def sum(self, values: Sequence[float]) -> tuple[float, ...]:
        """See ``Shard.sum``; in fp64 and on the CPU, so that counts stay exact."""
        if self.world == 1:
            return tuple(values)
        totals = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(totals)
        return tuple(totals.tolist())


ALONE = ProcessShard()


def join(init_method: str = "env://") -> ProcessShard:
    """Join the processes that a launcher such as ``torchrun`` started with this one.

    The launcher tells through ``RANK`` and ``WORLD_SIZE``; without them there is one process
    and nothing to join. Tensors on the CPU travel by gloo, those on CUDA devices by nccl.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return ALONE
    rank = int(os.environ["RANK"])
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, init_method=init_method, rank=rank, world_size=world)
    return ProcessShard(rank, world)


def leave() -> None:
    """Undo ``join``; nothing where nothing was joined."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def in_parallel(model: nn.Module, shard: Shard) -> DistributedDataParallel | None:
    """The model, its gradients averaged over all processes; None where there is but one.

    Each forward pass that ends in such an average starts with the buffers of the first process.
    """
    return DistributedDataParallel(model) if shard.world > 1 else None


def share_buffers(model: nn.Module, shard: Shard) -> None:
    """Give every process the buffers of the first; every process must call it."""
    if shard.world > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)
