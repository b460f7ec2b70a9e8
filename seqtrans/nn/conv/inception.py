"""Inception blocks: parallel branches of convolutions. Weights have torchvision's names."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from seqtrans.tensor_types import Float, Tensor

Kernel = tuple[int, int]  # height and width


class NormalizedConv(nn.Module):
    """A convolution, batch normalization, and a ReLU.

    Args:
        in_channels: Channels of the input.
        channels: Channels of the output.
        kernel: Height and width of the kernel.
        stride: Stride in both directions.
        padding: Rows of zeros at top and bottom, columns of zeros at left and right.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        kernel: Kernel,
        stride: int = 1,
        padding: Kernel = (0, 0),
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(channels, eps=0.001)

    def forward(
        self, x: Float[Tensor, "B in_channels height width"]
    ) -> Float[Tensor, "B out_channels rows columns"]:
        """Transform every image."""
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Layer(NamedTuple):
    """One convolution of a branch; with stride 1 it keeps height and width."""

    channels: int
    kernel: Kernel
    stride: int = 1


Branches = Mapping[str, Sequence[Mapping[str, Layer]]]
"""The steps of each branch, by name. A step has one or more parallel layers, by the suffix of their
names. The branch called ``branch_pool`` reads the pooled input."""


class Mixed(nn.Module):
    """Parallel branches, their channels concatenated (arXiv:1512.00567, figures 5 to 7, 10).

    Args:
        in_channels: Channels of the input.
        branches: The branches, in the order of their channels in the output.
        pooling: Pooling over windows of 3x3: ``average`` keeps height and width and is followed by
            ``branch_pool``; ``max`` halves them, and its result is part of the output.
    """

    def __init__(
        self, in_channels: int, branches: Branches, pooling: Literal["average", "max"]
    ) -> None:
        super().__init__()
        self.pooling: Literal["average", "max"] = pooling
        self.branches: list[list[list[str]]] = []
        self.out_channels = in_channels if pooling == "max" else 0
        for branch, steps in branches.items():
            channels = in_channels
            for step in steps:
                for end, layer in step.items():
                    self.add_module(branch + end, _conv(channels, layer))
                channels = sum(layer.channels for layer in step.values())
            self.branches.append([[branch + end for end in step] for step in steps])
            self.out_channels += channels

    def forward(
        self, x: Float[Tensor, "B in_channels height width"]
    ) -> Float[Tensor, "B out_channels rows columns"]:
        """Transform every image by all branches."""
        if self.pooling == "max":
            outputs = [self._run(steps, x) for steps in self.branches]
            return torch.cat([*outputs, F.max_pool2d(x, 3, stride=2)], dim=1)
        *branches, last = self.branches
        pooled = F.avg_pool2d(x, 3, stride=1, padding=1)
        outputs = [self._run(steps, x) for steps in branches]
        return torch.cat([*outputs, self._run(last, pooled)], dim=1)

    def _run(
        self, steps: Sequence[Sequence[str]], x: Float[Tensor, "B in_channels height width"]
    ) -> Float[Tensor, "B out_channels rows columns"]:
        for step in steps:
            outputs = [self.get_submodule(name)(x) for name in step]
            x = torch.cat(outputs, dim=1) if len(outputs) > 1 else outputs[0]
        return x


def _conv(in_channels: int, layer: Layer) -> NormalizedConv:
    height, width = layer.kernel
    padding = (height // 2, width // 2) if layer.stride == 1 else (0, 0)
    return NormalizedConv(in_channels, layer.channels, layer.kernel, layer.stride, padding)
