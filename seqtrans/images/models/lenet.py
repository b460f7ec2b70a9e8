"""LeNet: two convolutions, then linear layers (LeCun et al. 1998)."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le
from torch import nn

from seqtrans.config.types import Positive, Probability
from seqtrans.errors import RecipeError
from seqtrans.images.models.image_shape import ImageShape
from seqtrans.nn.activations import ActivationName
from seqtrans.nn.conv.convolution import Convolution, PlainBlock, Pool
from seqtrans.nn.mlp import Dense
from seqtrans.tensor_types import Float, Tensor


@dataclass(frozen=True, kw_only=True)
class LeNetConfig:
    """LeNet-5's two 5 x 5 convolutions and pools, in the sizes usual since Caffe.

    What differs from 1998: rectifiers, the maximum as pool, all maps joined to all, dropout and
    a softmax. ``filters: [6, 16]``, ``widths: [120, 84]``, ``activation: tanh`` and ``pool:
    average`` come near the original.
    """

    kind: Literal["lenet"] = "lenet"
    """Which model."""
    filters: tuple[Positive, Positive] = (20, 50)
    """Channels after the first and after the second convolution."""
    widths: tuple[Positive, ...] = (500,)
    """Units of every hidden layer between the convolutions and the logits."""
    activation: ActivationName = "relu"
    """Activation of all layers; ACTIVATIONS.md shows them all."""
    pool: Pool = "max"
    """Whether every 2 x 2 pixels become their largest or their mean."""
    padding: Annotated[int, Ge(0), Le(2)] = 2
    """Rows and columns of zeros around the image. 2 is as in 1998, and takes images of 12 x 12
    and larger; 0 is a third less work, and takes 16 x 16 and larger."""
    dropout: Probability = 0.0
    """Probability of dropping a hidden unit of ``widths`` while training (arXiv:1207.0580)."""


class LeNet(nn.Module):
    """Convolution, pool, convolution, pool, hidden layers, logits.

    Weights start as torch's layers make them, uniform within 1 / sqrt(inputs): less than He's
    variance of 2 / inputs, with which these shallow networks were no better on MNIST.

    Args:
        config: Sizes and choices.
        image: Size of the images.
        num_classes: Number of classes.

    Raises:
        RecipeError: The images are too small.
    """

    def __init__(self, config: LeNetConfig, image: ImageShape, num_classes: int) -> None:
        super().__init__()
        first, second = config.filters
        one = Convolution(channels=image.channels, filters=first, kernel=5, padding=config.padding)
        two = Convolution(channels=first, filters=second, kernel=5)
        height, width = (two.size(one.size(side) // 2) // 2 for side in image[1:])
        if min(height, width) < 1:
            least = 16 - 2 * config.padding
            raise RecipeError(
                f"lenet with padding {config.padding} needs images of at least {least} x {least} "
                f"pixels, not {image.height} x {image.width}: use an mlp or a cnn"
            )
        self.features = nn.Sequential()
        for name, convolution in (("0", one), ("2", two)):  # their names in stored weights
            block = PlainBlock(convolution, config.activation, config.pool)
            self.features.add_module(name, block)
        self.layers = Dense(
            second * height * width, config.widths, num_classes, config.activation, config.dropout
        )

    def forward(
        self, images: Float[Tensor, "B channels height width"]
    ) -> Float[Tensor, "B classes"]:
        """Compute the logits of every image."""
        return self.layers(self.features(images).flatten(1))
