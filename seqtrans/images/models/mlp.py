"""The multi-layer perceptron: linear layers over all pixels (Rumelhart et al. 1986)."""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from seqtrans.config.types import Positive, Probability
from seqtrans.images.models.image_shape import ImageShape
from seqtrans.nn.activations import ActivationName
from seqtrans.nn.mlp import Dense
from seqtrans.tensor_types import Float, Tensor


@dataclass(frozen=True, kw_only=True)
class MlpConfig:
    """Hidden layers that see all pixels; where pixels are is not known to it beforehand."""

    kind: Literal["mlp"] = "mlp"
    """Which model."""
    widths: tuple[Positive, ...] = (512, 512)
    """Units of every hidden layer; none: the logits are linear in the pixels."""
    activation: ActivationName = "relu"
    """Activation of the hidden layers; ACTIVATIONS.md shows them all."""
    dropout: Probability = 0.0
    """Probability of dropping a hidden unit while training (arXiv:1207.0580)."""


class Mlp(nn.Module):
    """Hidden layers, each with activation and dropout, then logits.

    Weights start as torch's layers make them, uniform within 1 / sqrt(inputs): less than He's
    variance of 2 / inputs, with which these shallow networks were no better on MNIST.

    Args:
        config: Sizes and choices.
        image: Size of the images.
        num_classes: Number of classes.
    """

    def __init__(self, config: MlpConfig, image: ImageShape, num_classes: int) -> None:
        super().__init__()
        pixels = image.channels * image.height * image.width
        self.layers = Dense(pixels, config.widths, num_classes, config.activation, config.dropout)

    def forward(
        self, images: Float[Tensor, "B channels height width"]
    ) -> Float[Tensor, "B classes"]:
        """Compute the logits of every image."""
        return self.layers(images.flatten(1))
