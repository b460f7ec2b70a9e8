"""Tensors of which every process may hold a part (``DTensor``), beside those that are whole."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from seqtrans.tensor_types import Tensor


def is_part(tensor: Any) -> bool:
    """Return whether this process holds only a part of the tensor."""
    return hasattr(tensor, "full_tensor")


def in_parts(model: nn.Module) -> bool:
    """Return whether this process holds only parts of weights between forward passes."""
    return any(is_part(parameter) for parameter in model.parameters())


def own_part(tensor: Any) -> Tensor:
    """Return what this process holds of a tensor, sharing its memory."""
    return tensor.to_local() if is_part(tensor) else tensor


def gathered(
    tensors: Mapping[str, Any], wait: Callable[[torch.device], None], *, keep: bool
) -> dict[str, Tensor]:
    """Return whole tensors; every process must call it where it holds parts.

    Args:
        tensors: By name, the same names everywhere.
        wait: Waits for what the other processes give; see ``TorchProcessGroup.await_device``.
        keep: Whether this process wants them; else nothing is returned, and at no time more
            than one whole tensor is in memory.
    """
    kept: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        full = tensor
        if is_part(tensor):
            full = tensor.full_tensor()
            wait(full.device)
            full = full.cpu()
        if keep:
            kept[name] = full
    return kept


@torch.no_grad()
def assign(target: Tensor, source: Tensor) -> None:
    """Copy ``source`` into ``target``, or this process's part of it."""
    target.copy_(part_of(source, like=target))


def part_of(full: Tensor, like: Any) -> Tensor:
    """Return this process's part, cut as ``like`` is, of a tensor that every process has."""
    if is_part(full) or not is_part(like):
        return full
    from torch.distributed.tensor import distribute_tensor

    full = full.to(like.device, like.dtype)
    return distribute_tensor(full, like.device_mesh, like.placements, src_data_rank=None)
