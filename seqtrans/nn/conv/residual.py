"""Residual blocks of convolutions. Weights have torchvision's names."""

from collections.abc import Iterator

from torch import nn
from torch.nn import functional as F

from seqtrans.tensor_types import Float, Tensor


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut (arXiv:1512.03385, figure 5, left).

    Args:
        in_channels: Channels of the input.
        channels: Channels inside and of the output.
        stride: Stride of the first convolution: 2 halves height and width.
    """

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.out_channels = channels
        self.conv1 = _conv3x3(in_channels, channels, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = _conv3x3(channels, channels)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = _shortcut(in_channels, channels, stride)

    def forward(
        self, x: Float[Tensor, "B in_channels height width"]
    ) -> Float[Tensor, "B out_channels rows columns"]:
        """Add the convolutions' output to the shortcut."""
        branch = F.relu(self.bn1(self.conv1(x)), inplace=True)
        branch = self.bn2(self.conv2(branch))
        branch += x if self.downsample is None else self.downsample(x)
        return F.relu(branch, inplace=True)

    def last_norm(self) -> nn.BatchNorm2d:
        """Return the norm that ends the branch: zero weights reduce the block to its shortcut."""
        return self.bn2


class Bottleneck(nn.Module):
    """A 3x3 convolution between two of 1x1, with a shortcut (arXiv:1512.03385, figure 5, right).

    The 3x3 convolution has the stride, as in torchvision; in the paper it is the first 1x1 one.

    Args:
        in_channels: Channels of the input; the output has 4 times ``channels``.
        channels: Channels inside, if ``cardinality`` is 1 and ``width_per_group`` is 64.
        stride: Stride of the 3x3 convolution: 2 halves height and width.
        cardinality: Groups of the 3x3 convolution (arXiv:1611.05431, figure 3c).
        width_per_group: Channels of each group if ``channels`` is 64; they grow in proportion.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        cardinality: int = 1,
        width_per_group: int = 64,
    ) -> None:
        super().__init__()
        self.out_channels = 4 * channels
        width = channels * width_per_group // 64 * cardinality
        self.conv1 = _conv1x1(in_channels, width)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv3x3(width, width, stride, cardinality)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _conv1x1(width, self.out_channels)
        self.bn3 = nn.BatchNorm2d(self.out_channels)
        self.downsample = _shortcut(in_channels, self.out_channels, stride)

    def forward(
        self, x: Float[Tensor, "B in_channels height width"]
    ) -> Float[Tensor, "B out_channels rows columns"]:
        """Add the convolutions' output to the shortcut."""
        branch = F.relu(self.bn1(self.conv1(x)), inplace=True)
        branch = F.relu(self.bn2(self.conv2(branch)), inplace=True)
        branch = self.bn3(self.conv3(branch))
        branch += x if self.downsample is None else self.downsample(x)
        return F.relu(branch, inplace=True)

    def last_norm(self) -> nn.BatchNorm2d:
        """Return the norm that ends the branch: zero weights reduce the block to its shortcut."""
        return self.bn3


def start_as_shortcuts(module: nn.Module) -> None:
    """Initialize every residual block to its shortcut alone (arXiv:1706.02677, 5.1)."""
    for norm in _last_norms(module):
        nn.init.zeros_(norm.weight)


def _last_norms(module: nn.Module) -> Iterator[nn.BatchNorm2d]:
    for part in module.modules():
        if isinstance(part, BasicBlock | Bottleneck):
            yield part.last_norm()


def _conv1x1(in_channels: int, channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, channels, 1, stride, bias=False)


def _conv3x3(in_channels: int, channels: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, channels, 3, stride, padding=1, groups=groups, bias=False)


def _shortcut(in_channels: int, channels: int, stride: int) -> nn.Sequential | None:
    """Build the projection for shortcuts that change the size, else return None (3.3, B)."""
    if stride == 1 and in_channels == channels:
        return None
    return nn.Sequential(_conv1x1(in_channels, channels, stride), nn.BatchNorm2d(channels))
