"""A convolutional network of blocks that the recipe lists."""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from seqtrans.config.types import Positive, Probability
from seqtrans.errors import RecipeError
from seqtrans.images.models.image_shape import ImageShape
from seqtrans.nn.activations import ActivationName
from seqtrans.nn.conv.convolution import Convolution, PlainBlock, Pool, ResidualBlock, pool
from seqtrans.nn.dropout import ChannelDropout
from seqtrans.nn.initialize import he_normal
from seqtrans.nn.mlp import Dense
from seqtrans.tensor_types import Float, Tensor


@dataclass(frozen=True, kw_only=True)
class BlockConfig:
    """Convolution, normalisation, activation, pool, dropout, in this order."""

    filters: Positive
    """Channels after the block."""
    kernel: Positive = 3
    """Height and width of what one output of a convolution sees, in pixels."""
    stride: Positive = 1
    """Pixels from one output of the (first) convolution to the next; 2 halves the image."""
    padding: Literal["same", "none"] = "same"
    """Whether zeros around its input keep the image's size, where the stride is 1."""
    normalisation: Literal["batch", "none"] = "batch"
    """Whether every channel is normalized over the batch (arXiv:1502.03167)."""
    activation: ActivationName = "relu"
    """Activation; ACTIVATIONS.md shows them all."""
    pool: Pool | Literal["none"] = "none"
    """Whether every 2 x 2 pixels become their largest, or their mean, or stay."""
    dropout: Probability = 0.0
    """Probability of dropping a channel after the block while training (arXiv:1411.4280)."""
    residual: bool = False
    """Two convolutions beside a shortcut, as in a ResNet (arXiv:1512.03385), instead of one."""

    def __post_init__(self) -> None:
        """Refuse choices that contradict each other."""
        if self.padding == "same" and self.kernel % 2 == 0:
            raise ValueError(f"padding 'same' needs an odd kernel, not {self.kernel}")
        if self.residual and self.padding == "none" and self.kernel > 1:
            raise ValueError("residual (true) needs padding 'same', not 'none'")

    def convolution(self, channels: int) -> Convolution:
        """Return the (first) convolution for an input of ``channels``."""
        return Convolution(
            channels=channels,
            filters=self.filters,
            kernel=self.kernel,
            stride=self.stride,
            padding=self.kernel // 2 if self.padding == "same" else 0,
            batch_norm=self.normalisation == "batch",
        )


@dataclass(frozen=True, kw_only=True)
class CnnConfig:
    """Blocks one after the other, then what makes logits of the last one's channels."""

    blocks: tuple[BlockConfig, ...]
    """The blocks, from the image upwards; at least one."""
    kind: Literal["cnn"] = "cnn"
    """Which model."""
    head: Literal["global_average", "flatten"] = "global_average"
    """What the hidden layers see: the mean of every channel (arXiv:1312.4400), or all pixels."""
    widths: tuple[Positive, ...] = ()
    """Units of every hidden layer before the logits."""
    activation: ActivationName = "relu"
    """Activation of these hidden layers."""
    dropout: Probability = 0.0
    """Probability of dropping a unit of these hidden layers while training."""

    def __post_init__(self) -> None:
        """Refuse choices that contradict each other."""
        if not self.blocks:
            raise ValueError("blocks is empty: give at least one, or use kind mlp")
        if self.dropout and not self.widths:
            raise ValueError(
                f"dropout ({self.dropout:g}) needs hidden layers, which widths gives; blocks have "
                "their own dropout"
            )


class Cnn(nn.Module):
    """Blocks, then a mean over all pixels or none, then hidden layers and logits.

    Convolutions start as ``he_normal`` says, so that blocks can be many even where nothing is
    normalized; hidden layers and logits as torch's linear layers do.

    Args:
        config: Sizes and choices.
        image: Size of the images.
        num_classes: Number of classes.

    Raises:
        RecipeError: The images are too small for a block.
    """

    def __init__(self, config: CnnConfig, image: ImageShape, num_classes: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential()
        shape = image
        for number, block in enumerate(config.blocks, start=1):
            self.blocks.append(_build(block, shape.channels))
            shape = _shape_after(block, number, shape)
        self.averages = config.head == "global_average"
        features = shape.channels * (1 if self.averages else shape.height * shape.width)
        self.layers = Dense(features, config.widths, num_classes, config.activation, config.dropout)
        he_normal(self.blocks)

    def forward(
        self, images: Float[Tensor, "B channels height width"]
    ) -> Float[Tensor, "B classes"]:
        """Compute the logits of every image."""
        features = self.blocks(images)
        return self.layers(features.mean((2, 3)) if self.averages else features.flatten(1))


def _build(block: BlockConfig, channels: int) -> nn.Sequential:
    convolution, pooling = block.convolution(channels), None if block.pool == "none" else block.pool
    if not block.residual:
        return nn.Sequential(
            PlainBlock(convolution, block.activation, pooling), ChannelDropout(block.dropout)
        )
    return nn.Sequential(
        ResidualBlock(convolution, block.activation),
        *((pool(pooling),) if pooling else ()),
        ChannelDropout(block.dropout),
    )


def _shape_after(block: BlockConfig, number: int, before: ImageShape) -> ImageShape:
    convolution = block.convolution(before.channels)
    height, width = (convolution.size(side) for side in before[1:])
    if min(height, width) < 1:
        raise RecipeError(
            f"model.blocks, block {number}: a kernel of {block.kernel} does not fit into "
            f"{before.height} x {before.width} pixels: use a smaller kernel, padding 'same', or "
            "larger images"
        )
    if block.pool == "none":
        return ImageShape(block.filters, height, width)
    if min(height, width) < 2:
        raise RecipeError(
            f"model.blocks, block {number}: can't pool {height} x {width} pixels: use "
            "fewer pools and strides, or larger images"
        )
    return ImageShape(block.filters, height // 2, width // 2)
