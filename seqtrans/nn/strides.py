"""What convolutions need so that their gradients are right in bf16 on a CPU."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from seqtrans.shapes import Tensor


def guard_strides(model: nn.Module) -> nn.Module:
    """Let every padded convolution of a model, ours or not, step over maps smaller than its stride.

    Of a map of fewer rows or columns than the stride, oneDNN's bf16 gradient (torch 2.13) leaves
    the weights that see nothing but padding unwritten: whatever lay in memory, ``inf`` at times,
    is learnt from instead of zeros. A row or column of zeros more changes no output, and all is
    written. The last layers of a network for photographs meet this on images of a few pixels.

    Returns:
        ``model``, whose state and names are as before.
    """
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d) and max(layer.stride) > 1:
            layer.register_forward_pre_hook(_widen)
    return model


def _widen(layer: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
    x: Tensor = arguments[0]
    assert isinstance(layer, nn.Conv2d)  # noqa: S101 - for the type checker
    rows, columns = (max(0, s - n) for s, n in zip(layer.stride, x.shape[2:], strict=True))
    if not (rows or columns) or not x.is_cpu or not torch.is_autocast_enabled("cpu"):
        return None
    wider = F.pad(x, (0, columns, 0, rows))
    return (wider, *arguments[1:]) if _output(layer, wider) == _output(layer, x) else None


def _output(layer: nn.Conv2d, x: Tensor) -> list[int]:
    """Height and width of what the layer makes of a map."""
    if isinstance(layer.padding, str):  # "valid", as strided layers have no "same"
        return []
    sides = zip(
        x.shape[2:], layer.padding, layer.dilation, layer.kernel_size, layer.stride, strict=True
    )
    return [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, p, d, k, s in sides]
