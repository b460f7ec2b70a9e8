"""Several processes with one model: each has all of it, or each keeps a part.

Either way the gradient is the mean over the processes of what each computed.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import nn

from seqtrans.ranges import PositiveFloat
from seqtrans.shapes import Tensor
from seqtrans.training.distributed import ProcessShard


@dataclass(frozen=True, kw_only=True)
class ProcessesConfig:
    """How several processes train together; one alone needs none of it."""

    sharding: Literal["none", "full"] = "none"
    """none: every process holds all weights (DDP, arXiv:2006.15704). full: each keeps an Nth of
    weights, gradients and moments, and fetches the others layer by layer (FSDP,
    arXiv:2304.11277): for what is too large for one device. Validation needs all weights."""
    communication: Literal["fp32", "bf16"] = "fp32"
    """Precision in which gradients travel; bf16 halves the traffic and rounds."""
    batch: Literal["shared", "each"] = "shared"
    """shared: processes divide the micro-batches of ``accumulate`` among them, so that an update
    is the same whatever their number. each: every process takes so many of its own."""
    timeout_seconds: PositiveFloat = 600.0
    """The longest wait for another process while training; then all stop with one message."""


class Parallel(Protocol):
    """A model as several processes train it."""

    @property
    def module(self) -> nn.Module:
        """What to call while training."""
        ...

    def syncing(self, *, if_: bool) -> Any:
        """A context for a backward pass; gradients are averaged over processes only if so."""
        ...

    def whole(self) -> Any:
        """A context within which every process holds all weights, for any use but training."""
        ...


def parallelise(model: nn.Module, config: ProcessesConfig, shard: ProcessShard) -> Parallel:
    """Prepare ``model`` for training by all processes; before its optimizer is made."""
    if shard.world == 1:
        return Alone(model)
    return (Sharded if config.sharding == "full" else Replicated)(model, config, shard)


class Alone:
    """One process: nothing to do."""

    def __init__(self, model: nn.Module) -> None:
        self.module = model

    @contextmanager
    def syncing(self, *, if_: bool) -> Generator[None]:
        """See ``Parallel.syncing``."""
        del if_
        yield

    @contextmanager
    def whole(self) -> Generator[None]:
        """See ``Parallel.whole``."""
        yield


class Replicated(Alone):
    """Every process holds all of the model: ``DistributedDataParallel``."""

    def __init__(self, model: nn.Module, config: ProcessesConfig, shard: ProcessShard) -> None:
        self.module = nn.parallel.DistributedDataParallel(
            model, process_group=shard.group, gradient_as_bucket_view=True
        )
        if config.communication == "bf16":
            from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook

            self.module.register_comm_hook(shard.group, bf16_compress_hook)

    @contextmanager
    def syncing(self, *, if_: bool) -> Generator[None]:
        """See ``Parallel.syncing``."""
        if if_:
            yield
            return
        with self.module.no_sync():
            yield


class Sharded(Alone):
    """Every process keeps a part of each weight: ``fully_shard``, by layer and for the rest.

    The model itself is changed: its parameters become ``DTensor``.
    """

    def __init__(self, model: nn.Module, config: ProcessesConfig, shard: ProcessShard) -> None:
        from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

        kind = next(model.parameters()).device.type
        mesh = (
            DeviceMesh.from_group(shard.group, kind)
            if shard.group is not None
            else init_device_mesh(kind, (shard.world,))
        )
        reduced = torch.bfloat16 if config.communication == "bf16" else None
        policy = MixedPrecisionPolicy(reduce_dtype=reduced)
        for layer in _layers(model):
            fully_shard(layer, mesh=mesh, mp_policy=policy)
        self.module = fully_shard(model, mesh=mesh, mp_policy=policy)

    @contextmanager
    def syncing(self, *, if_: bool) -> Generator[None]:
        """See ``Parallel.syncing``."""
        self.module.set_requires_gradient_sync(if_)
        yield

    @contextmanager
    def whole(self) -> Generator[None]:
        """See ``Parallel.whole``; processes may then call the model unequally often."""
        from torch.distributed.fsdp import FSDPModule

        parts = [part for part in self.module.modules() if isinstance(part, FSDPModule)]
        for part in parts:
            part.set_reshard_after_forward(False, recurse=False)
            part.unshard()
        try:
            yield
        finally:
            for part in parts:
                part.reshard()
                part.set_reshard_after_forward(part is not self.module, recurse=False)


def gathered(tensor: Tensor) -> Tensor:
    """All of a tensor of which this process may hold a part; then every process must call it."""
    return tensor.full_tensor() if _is_part(tensor) else tensor


@torch.no_grad()
def assign(target: Tensor, source: Tensor) -> None:
    """Copy ``source``, which every process has, into ``target``, which may be a part."""
    if _is_part(target):
        from torch.distributed.tensor import distribute_tensor

        mesh, placements = target.device_mesh, target.placements
        source = source.to(target.device, target.dtype)
        source = distribute_tensor(source, mesh, placements, src_data_rank=None)
    target.copy_(source)


def _layers(model: nn.Module) -> Iterator[nn.Module]:
    """The parts of a model that follow each other, such as the layers of a Transformer."""
    for part in model.children():
        if isinstance(part, nn.ModuleList | nn.Sequential):
            yield from (layer for layer in part if any(True for _ in layer.parameters()))
        else:
            yield from _layers(part)


def _is_part(tensor: Any) -> bool:
    return hasattr(tensor, "full_tensor")
