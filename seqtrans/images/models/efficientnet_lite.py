"""EfficientNet-Lite: EfficientNet (arXiv:1905.11946) for small processors.

It lacks squeeze-and-excitation, has ReLU6 for Swish, and a stem and a head of fixed size. Names
and order of the weights are those of timm's ``tf_efficientnet_lite``.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

from torch import nn
from torch.nn import functional as F

from seqtrans.config.types import Probability
from seqtrans.images.models.image_shape import ImageShape
from seqtrans.nn.conv.inverted_residual import (
    DepthwiseSeparable,
    InvertedResidual,
    SamePaddedConv,
    batch_norm,
)
from seqtrans.nn.initialize import he_convolutions
from seqtrans.tensor_types import Float, Tensor

Variant = Literal["lite0", "lite1", "lite2", "lite3", "lite4"]


class Scale(NamedTuple):
    """What sets a variant apart."""

    width: float
    """Factor of the channels of every stage."""
    depth: float
    """Factor of the blocks of every stage but the first and the last."""
    image_size: int
    """Height and width of the images that its published weights were trained on."""


class Stage(NamedTuple):
    """Blocks alike (arXiv:1905.11946, table 1); the first takes the stride."""

    blocks: int
    channels: int
    kernel: int
    stride: int


SCALES: dict[Variant, Scale] = {
    "lite0": Scale(1.0, 1.0, 224),
    "lite1": Scale(1.0, 1.1, 240),
    "lite2": Scale(1.1, 1.2, 260),
    "lite3": Scale(1.2, 1.4, 280),
    "lite4": Scale(1.4, 1.8, 300),
}
_STAGES = (
    Stage(1, 16, 3, 1),
    Stage(2, 24, 3, 2),
    Stage(2, 40, 5, 2),
    Stage(3, 80, 3, 2),
    Stage(3, 112, 5, 1),
    Stage(4, 192, 5, 2),
    Stage(1, 320, 3, 1),
)
_STEM, _HEAD = 32, 1280  # channels


@dataclass(frozen=True, kw_only=True)
class EfficientNetLiteConfig:
    """EfficientNet-Lite (arXiv:1905.11946, without squeeze-and-excitation)."""

    kind: Literal["efficientnet_lite"] = "efficientnet_lite"
    variant: Variant = "lite0"
    """How wide and deep: 4.7 million weights in ``lite0``, 13.0 million in ``lite4``."""
    dropout: Probability = 0.2
    """On the features before the last linear map."""
    drop_path: Probability = 0.0
    """Of a whole block of an image, in the last block; it grows linearly from 0 in the first
    (stochastic depth, arXiv:1603.09382). The published weights were trained with 0.2."""


class EfficientNetLite(nn.Module):
    """A convolution, stages of inverted residual blocks, and a linear map to classes.

    Args:
        config: Which network.
        image: What an image measures; any height and width will do.
        num_classes: Logits to return.
    """

    heads: ClassVar[tuple[str, ...]] = ("classifier",)
    """Linear maps with one row for every class, by name."""

    def __init__(self, config: EfficientNetLiteConfig, image: ImageShape, num_classes: int) -> None:
        super().__init__()
        stages = [_scaled(stage, SCALES[config.variant]) for stage in _STAGES]
        self.conv_stem = SamePaddedConv(image.channels, _STEM, 3, stride=2)
        self.bn1 = batch_norm(_STEM)
        self.blocks = _blocks(stages, config.drop_path)
        self.conv_head = SamePaddedConv(stages[-1].channels, _HEAD, 1)
        self.bn2 = batch_norm(_HEAD)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(_HEAD, num_classes)
        he_convolutions(self)

    def forward(
        self, images: Float[Tensor, "B channels height width"]
    ) -> Float[Tensor, "B classes"]:
        """Compute the logits of every image."""
        x = self.blocks(F.relu6(self.bn1(self.conv_stem(images)), inplace=True))
        x = F.relu6(self.bn2(self.conv_head(x)), inplace=True)
        return self.classifier(self.dropout(x.mean((2, 3))))


def _scaled(stage: Stage, scale: Scale) -> Stage:
    first_or_last = stage in (_STAGES[0], _STAGES[-1])
    blocks = stage.blocks if first_or_last else math.ceil(stage.blocks * scale.depth)
    return stage._replace(blocks=blocks, channels=_multiple_of_8(stage.channels * scale.width))


def _multiple_of_8(channels: float) -> int:
    """Round to the nearest multiple of 8, but not to less than nine tenths."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8


def _blocks(stages: list[Stage], drop_path: float) -> nn.Sequential:
    total, number, in_channels = sum(stage.blocks for stage in stages), 0, _STEM
    made: list[nn.Sequential] = []
    for place, (blocks, channels, kernel, stride) in enumerate(stages):
        stage = nn.Sequential()
        for block in range(blocks):
            step = 1 if block else stride
            stage.append(
                InvertedResidual(in_channels, channels, kernel, step, drop_path * number / total)
                if place
                else DepthwiseSeparable(in_channels, channels, kernel, step)
            )
            in_channels, number = channels, number + 1
        made.append(stage)
    return nn.Sequential(*made)
