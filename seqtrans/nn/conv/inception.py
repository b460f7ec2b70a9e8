"""Parallel branches of convolutions. Names of their weights are those of torchvision."""

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
        in_channels: Channels that enter.
        channels: Channels that leave.
        kernel: Height and width of the window.
        stride: Step of the window, each way.
        padding: Zeros around the image, at top and bottom, and left and right.
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
        """What the convolution finds, normalized, where it is positive."""
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Layer(NamedTuple):
    """One convolution of a branch; a window of stride 1 keeps height and width."""

    channels: int
    kernel: Kernel
    stride: int = 1


Branches = Mapping[str, Sequence[Mapping[str, Layer]]]
"""By name of branch its steps; a step is one layer or more side by side, each by the end of its
name. The branch called ``branch_pool`` sees the pooled input."""


class Mixed(nn.Module):
    """Branches side by side, their channels concatenated (arXiv:1512.00567, figures 5 to 7, 10).

    Args:
        in_channels: Channels that enter.
        branches: What each branch does, in the order of their channels.
        pooling: Over windows of 3x3: ``average`` keeps height and width and is followed by
            ``branch_pool``; ``max`` halves them and what it leaves goes out as it is.
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
        """What all branches find."""
        if self.pooling == "max":
            found = [self._run(steps, x) for steps in self.branches]
            return torch.cat([*found, F.max_pool2d(x, 3, stride=2)], dim=1)
        *branches, last = self.branches
        pooled = F.avg_pool2d(x, 3, stride=1, padding=1)
        found = [self._run(steps, x) for steps in branches]
        return torch.cat([*found, self._run(last, pooled)], dim=1)

    def _run(
        self, steps: Sequence[Sequence[str]], x: Float[Tensor, "B in_channels height width"]
    ) -> Float[Tensor, "B out_channels rows columns"]:
        for step in steps:
            found = [self.get_submodule(name)(x) for name in step]
            x = torch.cat(found, dim=1) if len(found) > 1 else found[0]
        return x


def _conv(in_channels: int, layer: Layer) -> NormalizedConv:
    height, width = layer.kernel
    padding = (height // 2, width // 2) if layer.stride == 1 else (0, 0)
    return NormalizedConv(in_channels, layer.channels, layer.kernel, layer.stride, padding)
