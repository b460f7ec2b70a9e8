"""Inverted residual blocks (arXiv:1801.04381). Weights have timm's names.

They pad as TensorFlow does, which trained the published weights: an odd number of zeros puts one
more at the bottom and the right.
"""

import torch
from torch import nn
from torch.nn import functional as F

from seqtrans.tensor_types import Float, Tensor

_EPSILON, _MOMENTUM = 1e-3, 0.01  # as in the networks' TensorFlow code


class SamePaddedConv(nn.Conv2d):
    """A convolution without bias whose output has height and width over ``stride``, rounded up.

    Args:
        in_channels: Channels of the input.
        channels: Channels of the output.
        kernel: Height and width of the kernel; odd.
        stride: Stride in both directions.
        groups: Number of independent groups of channels.
    """

    def __init__(
        self, in_channels: int, channels: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(in_channels, channels, kernel, stride, padding, groups=groups, bias=False)

    def forward(  # noqa: D102 (see nn.Conv2d)
        self, input: Float[Tensor, "B in_channels height width"]
    ) -> Float[Tensor, "B out_channels rows columns"]:
        if self.stride[0] > 1:
            # int(), because sizes are tensors while the layer is traced.
            height, width = (self._zeros(int(size)) for size in input.shape[2:])
            before, after = (height // 2, width // 2), (height - height // 2, width - width // 2)
            input = F.pad(input, (before[1], after[1], before[0], after[0]))
        return super().forward(input)

    def _zeros(self, size: int) -> int:
        steps = (size - 1) // self.stride[0]
        return max(steps * self.stride[0] + self.kernel_size[0] - size, 0)


class DepthwiseSeparable(nn.Module):
    """A depthwise convolution, then a pointwise one, without a shortcut.

    Args:
        in_channels: Channels of the input.
        channels: Channels of the output.
        kernel: Height and width of the depthwise kernel.
        stride: Stride of the depthwise convolution.
    """

    def __init__(self, in_channels: int, channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv_dw = SamePaddedConv(in_channels, in_channels, kernel, stride, in_channels)
        self.bn1 = batch_norm(in_channels)
        self.conv_pw = SamePaddedConv(in_channels, channels, 1)
        self.bn2 = batch_norm(channels)

    def forward(
        self, x: Float[Tensor, "B in_channels height width"]
    ) -> Float[Tensor, "B out_channels rows columns"]:
        """Return the features, without an activation."""
        x = F.relu6(self.bn1(self.conv_dw(x)), inplace=True)
        return self.bn2(self.conv_pw(x))


class InvertedResidual(nn.Module):
    """A pointwise expansion, a depthwise convolution and a pointwise projection, with a shortcut.

    The block has a shortcut if it changes neither the number of channels nor the size.

    Args:
        in_channels: Channels of the input; 6 times as many are inside.
        channels: Channels of the output.
        kernel: Height and width of the depthwise kernel.
        stride: Stride of the depthwise convolution.
        drop_path: Probability, per image, of using only the shortcut while training
            (stochastic depth, arXiv:1603.09382).
    """

    def __init__(
        self, in_channels: int, channels: int, kernel: int, stride: int, drop_path: float
    ) -> None:
        super().__init__()
        inner = 6 * in_channels
        self.conv_pw = SamePaddedConv(in_channels, inner, 1)
        self.bn1 = batch_norm(inner)
        self.conv_dw = SamePaddedConv(inner, inner, kernel, stride, inner)
        self.bn2 = batch_norm(inner)
        self.conv_pwl = SamePaddedConv(inner, channels, 1)
        self.bn3 = batch_norm(channels)
        self.shortcut = stride == 1 and in_channels == channels
        self.drop_path = drop_path

    def forward(
        self, x: Float[Tensor, "B in_channels height width"]
    ) -> Float[Tensor, "B out_channels rows columns"]:
        """Return the features, without an activation."""
        branch = F.relu6(self.bn1(self.conv_pw(x)), inplace=True)
        branch = F.relu6(self.bn2(self.conv_dw(branch)), inplace=True)
        branch = self.bn3(self.conv_pwl(branch))
        if not self.shortcut:
            return branch
        if self.training and self.drop_path:
            branch = branch * F.dropout(torch.ones_like(x[:, :1, :1, :1]), self.drop_path)
        return x + branch


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """Build batch normalization with the constants of these networks."""
    return nn.BatchNorm2d(channels, eps=_EPSILON, momentum=_MOMENTUM)
