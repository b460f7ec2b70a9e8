"""Several processes with one model: each has all of it, or each keeps a part.

Either way the gradient is the mean over the processes of what each computed.

Where each keeps a part, a device must hold its part of weights, gradients and moments; while it
computes, what is in no layer (embeddings, the output) and about two layers whole, with their
gradients, as the next is fetched meanwhile; and the whole model, without gradients, while sentences
are decoded: processes do so unequally often, and fetching takes all of them.
"""

import math
import warnings
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from seqtrans.training.compilation import Compiled
from seqtrans.training.config import ProcessesConfig, TrainingConfig
from seqtrans.training.distributed.gradient_sync import Exchange
from seqtrans.training.distributed.process_group import TorchProcessGroup
from seqtrans.training.distributed.sharded_tensors import in_parts


class Replica(Protocol):
    """A model as training calls it."""

    @property
    def module(self) -> nn.Module:
        """What to call for a loss to learn from."""
        ...

    def unsharded(self, *, enabled: bool = True) -> AbstractContextManager[None]:
        """Give every process the same whole model within, for any use but training.

        Where it is not ``enabled`` weights may stay shared out, for calls that all processes make
        equally often; buffers are the same.
        """
        ...


class ParallelReplica(Replica, Protocol):
    """A model that several processes train."""

    def gradient_sync(self, *, enabled: bool) -> AbstractContextManager[None]:
        """Average gradients over all processes in backward passes within; or not yet."""
        ...

    def complete_collectives_with_zeros(self) -> bool:
        """Take part in what the others still wait for, after memory ran out in this process.

        What they and this one find is worth nothing. False: there is no way to.
        """
        ...

    def norm(self, norms: Sequence[float]) -> float:
        """Norm of the whole gradient, from those of what this process has of each parameter's."""
        ...


def shard_weights(
    model: nn.Module,
    config: ProcessesConfig,
    group: TorchProcessGroup,
    device: torch.device | None = None,
) -> None:
    """Leave each process its part of each weight, where ``config`` wants it; else nothing.

    The parameters of ``model`` become others, ``DTensor``: do it before anything refers to them.
    Layers are fetched one after the other, the rest of the model at once. A second time it does
    nothing.

    Args:
        model: With all of its weights, the same in every process.
        config: Whether.
        group: This process, in the group that is to exchange weights and gradients.
        device: Where it shall learn, if not where it is: layer by layer it is moved there and cut,
            so that there is never room needed for all of it.
    """
    if not config.shards(group.world_size) or in_parts(model):
        return
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    kind = (device or next(model.parameters()).device).type
    mesh = init_device_mesh(kind, (group.world_size,))
    reduced = torch.bfloat16 if config.communication == "bf16" else None
    policy = MixedPrecisionPolicy(reduce_dtype=reduced)
    for part in (*_layers(model), model):
        fully_shard(part, mesh=mesh, mp_policy=policy)


def replicate(
    model: nn.Module, config: TrainingConfig, group: TorchProcessGroup
) -> ParallelReplica:
    """Return the model for training by several processes, compiled if configured.

    Make it again after parameters were frozen or thawed.
    """
    if config.processes.shards(group.world_size):
        return FullySharded(model, compiled(model, config), group)
    # Weights of one channel are in two memory orders at once, of which it expects the other.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    # static_graph saves looking for unused parameters and lets activations be recomputed: none of
    # the first are trained here, and nothing does the second.
    parallel = nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True)
    # A process whose memory runs out before its forward pass would leave the others waiting for a
    # broadcast there. Only statistics differ meanwhile, which ``unsharded`` shares.
    parallel.broadcast_buffers = False
    exchange = Exchange(rounds=config.processes.communication == "bf16")
    parallel.register_comm_hook(exchange, Exchange.average)
    return DataParallel(parallel, compiled(parallel, config), group, exchange)


@dataclass(frozen=True)
class DataParallel:
    """Every process holds all of the model; see ``Replica``.

    Batch normalization normalizes every micro-batch by itself, in whichever process, so that the
    gradient is that of one process. The running statistics are those of the first process: it
    saves them, and all judge by them.
    """

    parallel: nn.parallel.DistributedDataParallel
    module: nn.Module
    group: TorchProcessGroup
    exchange: Exchange

    @contextmanager
    def gradient_sync(self, *, enabled: bool) -> Generator[None]:
        """See ``Replica.gradient_sync``."""
        self.exchange.begin()
        with nullcontext() if enabled else self.parallel.no_sync():
            yield

    def complete_collectives_with_zeros(self) -> bool:
        """See ``Replica``; afterwards ``parallel`` is of no more use, in any process."""
        self.exchange.finish(self.parallel.reducer)
        return True

    def norm(self, norms: Sequence[float]) -> float:
        """See ``Replica.norm``; all processes have the same gradient."""
        return math.hypot(*norms)

    def rebuild_buckets(self) -> None:
        """Order gradients as they became ready in the first backward pass; all processes must."""
        self.parallel.reducer._rebuild_buckets()

    @contextmanager
    def unsharded(self, *, enabled: bool = True) -> Generator[None]:
        """See ``Replica.unsharded``: with the buffers of the first process."""
        del enabled
        self.group.share(self.parallel.module.buffers())
        self.group.await_device(_device(self.parallel))
        yield


@dataclass(frozen=True)
class FullySharded:
    """Every process keeps a part of each weight; see ``Replica``."""

    parallel: Any  # an FSDPModule
    module: nn.Module
    group: TorchProcessGroup

    @contextmanager
    def gradient_sync(self, *, enabled: bool) -> Generator[None]:
        """See ``Replica.gradient_sync``."""
        self.parallel.set_requires_gradient_sync(enabled)
        yield

    def complete_collectives_with_zeros(self) -> bool:
        """See ``Replica``: the others wait for weights, layer by layer; there is no way."""
        return False

    def norm(self, norms: Sequence[float]) -> float:
        """See ``Replica.norm``; infinite or no number where it is so in any process."""
        return math.sqrt(self.group.sum([math.hypot(*norms) ** 2])[0])

    def unsharded(self, *, enabled: bool = True) -> AbstractContextManager[None]:
        """See ``Replica.unsharded``; processes may then call the model unequally often."""
        return unshard_for_inference(self.parallel, self.group, enabled=enabled)


@contextmanager
def unshard_for_inference(
    model: nn.Module, group: TorchProcessGroup, *, enabled: bool = True
) -> Generator[None]:
    """Give every process all weights of a sharded model, and the same buffers, within this context.

    Args:
        model: What was shared out.
        group: This process.
        enabled: False: weights come and go with every call.
    """
    from torch.distributed.fsdp import FSDPModule

    group.share(model.buffers())
    parts = [part for part in model.modules() if isinstance(part, FSDPModule)]
    root: Any = model
    root._get_fsdp_state()._lazy_init()  # else the first that is called, a layer, is taken for it
    for part in parts if enabled else ():
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    try:
        group.await_device(_device(model))
        yield
    finally:
        for part in parts:
            part.reshard()
            part.set_reshard_after_forward(part is not model, recurse=False)
            _forget_passes(part)


def _forget_passes(part: Any) -> None:
    """Let FSDP forget the forward passes since the last backward pass, in a layer.

    It fetches ahead in backward passes, in the order of all forward passes before. After a
    validation, in which processes make unequally many, one would fetch what the others don't, and
    all would wait for ever.
    """
    group = part._get_fsdp_state()._fsdp_param_group
    if group is not None:
        group._post_forward_indices.clear()
        group.comm_ctx.post_forward_order.clear()


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def compiled(model: nn.Module, config: TrainingConfig) -> nn.Module:
    """Return the model, compiled if configured."""
    return Compiled(model) if config.compile else model


def _layers(model: nn.Module) -> Iterator[nn.Module]:
    """Yield the parts of a model that follow each other, such as the layers of a Transformer."""
    for part in model.children():
        if isinstance(part, nn.ModuleList | nn.Sequential):
            yield from (layer for layer in part if any(True for _ in layer.parameters()))
        else:
            yield from _layers(part)
