"""Tensors of which every process may hold a part (``DTensor``), beside those that are whole."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from seqtrans.tensor_types import Tensor


def is_part(tensor: Any) -> bool:
    """Whether this process holds a part of the tensor only."""
    return hasattr(tensor, "full_tensor")


def in_parts(model: nn.Module) -> bool:
    """Whether, but in a forward or backward pass, this process holds parts of weights only."""
    return any(is_part(parameter) for parameter in model.parameters())


def own_part(tensor: Any) -> Tensor:
    """What this process holds of a tensor, sharing its memory."""
    return tensor.to_local() if is_part(tensor) else tensor


def gathered(
    tensors: Mapping[str, Any], wait: Callable[[torch.device], None], *, keep: bool
) -> dict[str, Tensor]:
    """Whole tensors; every process must call it where it holds parts.

    Args:
        tensors: By name, the same names everywhere.
        wait: Waits for what the other processes give; see ``TorchProcessGroup.await_device``.
        keep: Whether this process wants them; else nothing is returned, and at no time more
            than one whole tensor is in memory.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        whole = tensor
        if is_part(tensor):
            whole = tensor.full_tensor()
            wait(whole.device)
            whole = whole.cpu()
        if keep:
            found[name] = whole
    return found


@torch.no_grad()
def assign(target: Tensor, source: Tensor) -> None:
    """Copy ``source`` into ``target``: parts into parts, and of a whole its part."""
    target.copy_(part_of(source, like=target))


def part_of(whole: Tensor, like: Any) -> Tensor:
    """This process's part of what every process has all of, cut as ``like`` is."""
    if is_part(whole) or not is_part(like):
        return whole
    from torch.distributed.tensor import distribute_tensor

    whole = whole.to(like.device, like.dtype)
    return distribute_tensor(whole, like.device_mesh, like.placements, src_data_rank=None)
