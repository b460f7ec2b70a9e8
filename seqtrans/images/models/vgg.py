"""The networks of small convolutions of VGG (arXiv:1409.1556).

Names and order of the weights are those of torchvision, so that its published files load.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from seqtrans.config.types import Positive, Probability
from seqtrans.images.models.image_shape import ImageShape
from seqtrans.nn.conv.pooling import regional_means
from seqtrans.nn.initialize import he_convolutions
from seqtrans.tensor_types import Float, Tensor

_CONVOLUTIONS = {  # by depth, in each of the five stages
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
_CHANNELS = (64, 128, 256, 512, 512)
_GRID = 7  # rows and columns that the linear maps see
_SMALLEST = 2 ** len(_CHANNELS)


@dataclass(frozen=True, kw_only=True)
class VggConfig:
    """Stages of 3x3 convolutions, and three linear maps (arXiv:1409.1556, table 1)."""

    kind: Literal["vgg"] = "vgg"
    depth: Literal[11, 13, 16, 19] = 16
    """Layers with weights: configurations A, B, D and E of the paper."""
    batch_norm: bool = False
    """Normalize after every convolution, which the paper does not."""
    hidden_dim: Positive = 4096
    """Features between the linear maps."""
    dropout: Probability = 0.5
    """Between the linear maps."""


class Vgg(nn.Module):
    """Convolutions with a pooling after each stage, and three linear maps.

    Args:
        config: Which network.
        image: What an image measures; 32 pixels each way at least.
        num_classes: Logits to return.

    Raises:
        ValueError: Images are too small for five poolings.
    """

    heads: ClassVar[tuple[str, ...]] = ("classifier.6",)
    """Linear maps with one row for every class, by name."""

    def __init__(self, config: VggConfig, image: ImageShape, num_classes: int) -> None:
        super().__init__()
        if min(image.height, image.width) < _SMALLEST:
            raise ValueError(
                f"vgg needs images of {_SMALLEST}x{_SMALLEST} pixels or more, "
                f"not {image.height}x{image.width}"
            )
        self.features = _features(config, image.channels)
        self.classifier = nn.Sequential(
            nn.Linear(_CHANNELS[-1] * _GRID * _GRID, config.hidden_dim),
            nn.ReLU(inplace=True),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden_dim, config.hidden_dim),
            nn.ReLU(inplace=True),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden_dim, num_classes),
        )
        he_convolutions(self)
        for part in self.classifier:
            if isinstance(part, nn.Linear):  # 3.1
                nn.init.normal_(part.weight, std=0.01)
                nn.init.zeros_(part.bias)

    def forward(
        self, images: Float[Tensor, "B channels height width"]
    ) -> Float[Tensor, "B classes"]:
        """Compute the logits of every image."""
        grid = regional_means(self.features(images), _GRID)
        return self.classifier(grid.flatten(1))


def _features(config: VggConfig, in_channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels, count in zip(_CHANNELS, _CONVOLUTIONS[config.depth], strict=True):
        for _ in range(count):
            layers.append(nn.Conv2d(in_channels, channels, 3, padding=1))
            if config.batch_norm:
                layers.append(nn.BatchNorm2d(channels))
            layers.append(nn.ReLU(inplace=True))
            in_channels = channels
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)
