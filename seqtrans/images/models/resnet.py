"""Residual networks (arXiv:1512.03385) and their grouped form ResNeXt (arXiv:1611.05431).

Names and order of the weights are those of torchvision, so that its published files load.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

from torch import nn
from torch.nn import functional as F

from seqtrans.config.types import Positive
from seqtrans.images.models.image_shape import ImageShape
from seqtrans.nn.conv.residual import BasicBlock, Bottleneck, start_as_shortcuts
from seqtrans.nn.initialize import he_convolutions
from seqtrans.tensor_types import Float, Tensor

Stem = Literal["imagenet", "cifar"]
Block = Callable[[int, int, int], BasicBlock | Bottleneck]  # of channels in, inside, and stride

_STAGES = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
_BASIC = (18, 34)


@dataclass(frozen=True, kw_only=True)
class ResNetConfig:
    """A residual network (arXiv:1512.03385)."""

    kind: Literal["resnet"] = "resnet"
    depth: Literal[18, 20, 32, 34, 44, 50, 56, 101, 110, 152] = 18
    """Layers with weights. 18, 34, 50, 101 and 152 have four stages of 64 to 512 channels (the
    last three in bottlenecks); 20, 32, 44, 56 and 110 are small: three stages of 16, 32 and 64
    channels for images of about 32 pixels (4.2)."""
    stem: Stem = "imagenet"
    """First layer: ``imagenet`` is a 7x7 convolution and a pooling that leave a quarter of height
    and width; ``cifar`` is a 3x3 convolution that leaves all of it, for small images."""
    zero_init_residual: bool = False
    """Let every block start as its shortcut alone (arXiv:1706.02677, 5.1)."""

    def __post_init__(self) -> None:
        if self.depth not in _STAGES and self.stem != "cifar":
            raise ValueError(
                f"depth {self.depth} is a network for small images and needs stem: cifar; "
                f"those for stem: {self.stem} are {', '.join(map(str, _STAGES))}"
            )


@dataclass(frozen=True, kw_only=True)
class ResNeXtConfig:
    """A residual network of grouped bottlenecks (arXiv:1611.05431).

    With ``cardinality: 1`` and ``width_per_group: 128`` it is a Wide ResNet-50-2 or -101-2.
    """

    kind: Literal["resnext"] = "resnext"
    depth: Literal[50, 101, 152] = 50
    """Layers with weights."""
    cardinality: Positive = 32
    """Groups of every 3x3 convolution."""
    width_per_group: Positive = 4
    """Channels of a group in the first stage; each later stage has twice as many."""
    stem: Stem = "imagenet"
    """First layer; see ``resnet``."""
    zero_init_residual: bool = False
    """Let every block start as its shortcut alone (arXiv:1706.02677, 5.1)."""


class ResNet(nn.Module):
    """Stages of residual blocks, a mean over all positions, and a linear map to classes.

    Args:
        config: Which network.
        image: What an image measures; any height and width will do.
        num_classes: Logits to return.
    """

    heads: ClassVar[tuple[str, ...]] = ("fc",)
    """Linear maps with one row for every class, by name."""

    def __init__(
        self, config: ResNetConfig | ResNeXtConfig, image: ImageShape, num_classes: int
    ) -> None:
        super().__init__()
        blocks = _STAGES.get(config.depth) or ((config.depth - 2) // 6,) * 3
        channels = 64 if config.depth in _STAGES else 16
        self.pools = config.stem == "imagenet"
        self.conv1 = _stem(image.channels, channels, config.stem)
        self.bn1 = nn.BatchNorm2d(channels)
        block, in_channels = _block(config), channels
        self.stages = tuple(f"layer{number}" for number in range(1, len(blocks) + 1))
        for stage, (name, count) in enumerate(zip(self.stages, blocks, strict=True)):
            made = _stage(block, in_channels, channels << stage, count, stride=min(stage + 1, 2))
            in_channels = made[-1].out_channels
            self.add_module(name, nn.Sequential(*made))
        self.fc = nn.Linear(in_channels, num_classes)
        he_convolutions(self)
        if config.zero_init_residual:
            start_as_shortcuts(self)

    def forward(
        self, images: Float[Tensor, "B channels height width"]
    ) -> Float[Tensor, "B classes"]:
        """Compute the logits of every image."""
        x = F.relu(self.bn1(self.conv1(images)), inplace=True)
        if self.pools:
            x = F.max_pool2d(x, 3, stride=2, padding=1)
        for name in self.stages:
            x = self.get_submodule(name)(x)
        return self.fc(x.mean((2, 3)))


def _block(config: ResNetConfig | ResNeXtConfig) -> Block:
    if isinstance(config, ResNeXtConfig):
        return partial(
            Bottleneck, cardinality=config.cardinality, width_per_group=config.width_per_group
        )
    return Bottleneck if config.depth in _STAGES.keys() - _BASIC else BasicBlock


def _stem(in_channels: int, channels: int, stem: Stem) -> nn.Conv2d:
    if stem == "imagenet":
        return nn.Conv2d(in_channels, channels, 7, stride=2, padding=3, bias=False)
    return nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)


def _stage(
    block: Block, in_channels: int, channels: int, count: int, *, stride: int
) -> list[BasicBlock | Bottleneck]:
    first = block(in_channels, channels, stride)
    return [first, *(block(first.out_channels, channels, 1) for _ in range(count - 1))]
