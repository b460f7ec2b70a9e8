"""Inception v3 (arXiv:1512.00567).

Names and order of the weights are those of torchvision, so that its published file loads.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn
from torch.nn import functional as F

from seqtrans.config.types import Probability
from seqtrans.images.models.image_shape import ImageShape
from seqtrans.nn.conv.inception import Layer, Mixed, NormalizedConv
from seqtrans.tensor_types import Float, Tensor

_SMALLEST = 75
_SMALLEST_AUXILIARY = 299

Step = dict[str, Layer]


@dataclass(frozen=True, kw_only=True)
class InceptionV3Config:
    """Inception v3 (arXiv:1512.00567); made for images of 299 pixels each way."""

    kind: Literal["inception_v3"] = "inception_v3"
    auxiliary: bool = False
    """Whether there is a second classifier in the middle, for training only (4)."""
    dropout: Probability = 0.5
    """On the features before the last linear map."""


class InceptionV3(nn.Module):
    """A stem of convolutions, eleven blocks of parallel branches, and a linear map to classes.

    Args:
        config: Which network.
        image: What an image measures; 75 pixels each way at least, 299 with ``auxiliary``.
        num_classes: Logits to return.

    Raises:
        ValueError: Images are too small.
    """

    def __init__(self, config: InceptionV3Config, image: ImageShape, num_classes: int) -> None:
        super().__init__()
        _check_size(config, image)
        self.Conv2d_1a_3x3 = NormalizedConv(image.channels, 32, (3, 3), stride=2)
        self.Conv2d_2a_3x3 = NormalizedConv(32, 32, (3, 3))
        self.Conv2d_2b_3x3 = NormalizedConv(32, 64, (3, 3), padding=(1, 1))
        self.Conv2d_3b_1x1 = NormalizedConv(64, 80, (1, 1))
        self.Conv2d_4a_3x3 = NormalizedConv(80, 192, (3, 3))
        self.Mixed_5b = _mixed5(192, pooled=32)
        self.Mixed_5c = _mixed5(256, pooled=64)
        self.Mixed_5d = _mixed5(288, pooled=64)
        self.Mixed_6a = _mixed6a(288)
        self.Mixed_6b = _mixed6(inner=128)
        self.Mixed_6c = _mixed6(inner=160)
        self.Mixed_6d = _mixed6(inner=160)
        self.Mixed_6e = _mixed6(inner=192)
        self.AuxLogits = AuxiliaryHead(768, num_classes) if config.auxiliary else None
        self.Mixed_7a = _mixed7a()
        self.Mixed_7b = _mixed7(1280)
        self.Mixed_7c = _mixed7(2048)
        self.dropout = nn.Dropout(config.dropout)
        self.fc = nn.Linear(2048, num_classes)
        _initialize(self, std=0.1)
        if self.AuxLogits is not None:
            _initialize(self.AuxLogits.conv1, std=0.01)
            _initialize(self.AuxLogits.fc, std=0.001)

    heads: ClassVar[tuple[str, ...]] = ("fc", "AuxLogits.fc")
    """Linear maps with one row for every class, by name; the second only with ``auxiliary``."""

    def forward(
        self, images: Float[Tensor, "B channels height width"], *, with_auxiliary: bool = False
    ) -> Float[Tensor, "B classes"] | tuple[Float[Tensor, "B classes"], Float[Tensor, "B classes"]]:
        """Compute the logits of the last classifier, or of the last and the auxiliary one.

        Args:
            images: Normalized images.
            with_auxiliary: Whether to return both; only if ``auxiliary`` was configured.
        """
        middle = self._middle(images)
        if with_auxiliary and self.AuxLogits is not None:
            return self._last(middle), self.AuxLogits(middle)
        return self._last(middle)

    def drop_auxiliary(self) -> None:
        """Remove the auxiliary classifier, which is needed only for training."""
        self.AuxLogits = None

    def _middle(
        self, images: Float[Tensor, "B channels height width"]
    ) -> Float[Tensor, "B 768 rows columns"]:
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(images)))
        x = F.max_pool2d(x, 3, stride=2)
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x))
        x = F.max_pool2d(x, 3, stride=2)
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))
        return self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))

    def _last(self, middle: Float[Tensor, "B 768 rows columns"]) -> Float[Tensor, "B classes"]:
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(middle)))
        return self.fc(self.dropout(x.mean((2, 3))))


class AuxiliaryHead(nn.Module):
    """The auxiliary classifier (arXiv:1512.00567, 4).

    Args:
        in_channels: Channels of the input, on a grid of 17x17 or more.
        num_classes: Logits to return.
    """

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.conv0 = NormalizedConv(in_channels, 128, (1, 1))
        self.conv1 = NormalizedConv(128, 768, (5, 5))
        self.fc = nn.Linear(768, num_classes)

    def forward(self, x: Float[Tensor, "B in_channels height width"]) -> Float[Tensor, "B classes"]:
        """Compute the logits of every image."""
        x = self.conv1(self.conv0(F.avg_pool2d(x, 5, stride=3)))
        return self.fc(x.mean((2, 3)))


def _check_size(config: InceptionV3Config, image: ImageShape) -> None:
    smallest = _SMALLEST_AUXILIARY if config.auxiliary else _SMALLEST
    if min(image.height, image.width) < smallest:
        raise ValueError(
            f"inception_v3 with auxiliary: {str(config.auxiliary).lower()} needs images of "
            f"{smallest}x{smallest} pixels or more, not {image.height}x{image.width}"
        )


def _initialize(module: nn.Module, *, std: float) -> None:
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.trunc_normal_(part.weight, std=std)


def _layer(
    channels: int, height: int = 1, width: int | None = None, *, stride: int = 1, end: str = ""
) -> Step:
    return {end: Layer(channels, (height, width or height), stride)}


def _mixed5(in_channels: int, *, pooled: int) -> Mixed:
    """Build the block of figure 5, on 35x35 positions."""
    return Mixed(
        in_channels,
        {
            "branch1x1": [_layer(64)],
            "branch5x5": [_layer(48, end="_1"), _layer(64, 5, end="_2")],
            "branch3x3dbl": [
                _layer(64, end="_1"),
                _layer(96, 3, end="_2"),
                _layer(96, 3, end="_3"),
            ],
            "branch_pool": [_layer(pooled)],
        },
        pooling="average",
    )


def _mixed6a(in_channels: int) -> Mixed:
    """Build the block of figure 10, from 35x35 positions to 17x17."""
    return Mixed(
        in_channels,
        {
            "branch3x3": [_layer(384, 3, stride=2)],
            "branch3x3dbl": [
                _layer(64, end="_1"),
                _layer(96, 3, end="_2"),
                _layer(96, 3, stride=2, end="_3"),
            ],
        },
        pooling="max",
    )


def _mixed6(*, inner: int) -> Mixed:
    """Build the block of figure 6, on 17x17 positions."""
    return Mixed(
        768,
        {
            "branch1x1": [_layer(192)],
            "branch7x7": [
                _layer(inner, end="_1"),
                _layer(inner, 1, 7, end="_2"),
                _layer(192, 7, 1, end="_3"),
            ],
            "branch7x7dbl": [
                _layer(inner, end="_1"),
                _layer(inner, 7, 1, end="_2"),
                _layer(inner, 1, 7, end="_3"),
                _layer(inner, 7, 1, end="_4"),
                _layer(192, 1, 7, end="_5"),
            ],
            "branch_pool": [_layer(192)],
        },
        pooling="average",
    )


def _mixed7a() -> Mixed:
    """Build the block from 17x17 positions to 8x8."""
    return Mixed(
        768,
        {
            "branch3x3": [_layer(192, end="_1"), _layer(320, 3, stride=2, end="_2")],
            "branch7x7x3": [
                _layer(192, end="_1"),
                _layer(192, 1, 7, end="_2"),
                _layer(192, 7, 1, end="_3"),
                _layer(192, 3, stride=2, end="_4"),
            ],
        },
        pooling="max",
    )


def _mixed7(in_channels: int) -> Mixed:
    """Build the block of figure 7, on 8x8 positions."""
    fork2 = _layer(384, 1, 3, end="_2a") | _layer(384, 3, 1, end="_2b")
    fork3 = _layer(384, 1, 3, end="_3a") | _layer(384, 3, 1, end="_3b")
    return Mixed(
        in_channels,
        {
            "branch1x1": [_layer(320)],
            "branch3x3": [_layer(384, end="_1"), fork2],
            "branch3x3dbl": [_layer(448, end="_1"), _layer(384, 3, end="_2"), fork3],
            "branch_pool": [_layer(192)],
        },
        pooling="average",
    )
