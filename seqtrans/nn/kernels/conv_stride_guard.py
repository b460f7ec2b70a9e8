"""A guard for strided convolutions, whose gradients can be wrong in bf16 on a CPU.

If a map has fewer rows or columns than the stride, oneDNN's bf16 gradient (torch 2.13) is not
written for weights that see only padding: training then uses uninitialized memory, sometimes
``inf``, instead of zeros. Additional rows and columns of zeros change no output, and the whole
gradient is written. The last layers of a network for photographs meet this on tiny images.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from seqtrans.tensor_types import Tensor

_ARGUMENTS = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")


def guard_strides(model: nn.Module) -> nn.Module:
    """Pad the input of every convolution of a model if it is smaller than the stride.

    Returns:
        ``model``, whose state and names are unchanged.
    """
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d) and max(layer.stride) > 1:
            layer.register_forward_pre_hook(_prepare)
    return model


class GuardedStrides(TorchFunctionMode):
    """A context with the same guard for convolutions that are not torch modules, as in Keras."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Call ``func``, with padded input if it is a convolution."""
        del types
        if func is not F.conv2d:
            return func(*args, **(kwargs or {}))
        given = {**dict(zip(_ARGUMENTS, args, strict=False)), **(kwargs or {})}
        padding = given.get("padding", 0)
        if not isinstance(padding, str):
            sides = (given.get("stride", 1), padding, given.get("dilation", 1))
            stride, padding, dilation = ((n, n) if isinstance(n, int) else n for n in sides)
            x, kernel = given["input"], given["weight"].shape[2:]
            given["input"] = _widened(x, kernel, stride, padding, dilation)
        return func(**given)


def _prepare(layer: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
    assert isinstance(layer, nn.Conv2d)  # noqa: S101 - for the type checker
    if isinstance(layer.padding, str):  # "valid", as strided layers have no "same"
        return None
    sides = layer.kernel_size, layer.stride, layer.padding, layer.dilation
    return (_widened(arguments[0], *sides), *arguments[1:])


def _widened(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    """Pad the map with zeros below and on the right, if needed and no output changes."""
    size = x.shape[-2:]
    wide = [max(n, s) for n, s in zip(size, stride, strict=True)]
    if wide == list(size) or not x.is_cpu or not torch.is_autocast_enabled("cpu"):
        return x
    sides = list(zip(padding, dilation, kernel, stride, strict=True))
    before, after = (
        [(n + 2 * p - d * (k - 1) - 1) // s for n, (p, d, k, s) in zip(lengths, sides, strict=True)]
        for lengths in (size, wide)
    )
    return F.pad(x, (0, wide[1] - size[1], 0, wide[0] - size[0])) if before == after else x
