"""The perceptron: one linear map and a step (Rosenblatt 1958)."""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from seqtrans.images.models.image_shape import ImageShape
from seqtrans.nn.activations import activation
from seqtrans.nn.kernels.linear import Linear
from seqtrans.tensor_types import Float, Tensor


@dataclass(frozen=True, kw_only=True)
class PerceptronConfig:
    """One unit for each class, which sees every pixel; there are no hidden layers."""

    kind: Literal["perceptron"] = "perceptron"
    """Which model."""
    output: Literal["step", "logits"] = "step"
    """What comes out where the model is used: 1 for the class and 0 for the others, or logits."""


class Perceptron(nn.Module):
    """Learns by the softmax loss of its logits, and answers by a binary step.

    A step has no derivative to learn by, so while training ``forward`` gives logits. In
    evaluation mode every unit fires (1) or not (0). Its threshold can't be 0: the softmax loss
    doesn't change when all logits of an image rise alike, so it leaves open where 0 is, and none
    or many units would fire. The units compete instead: the threshold is the largest logit of
    the image. So one unit fires (more only where logits tie exactly), and the class is that of
    the largest logit. A loss or a probability computed from steps says nothing beyond whether
    the class is right; where those matter ``output`` is to be ``logits``.

    All weights start at 0: the loss is convex, so no start is better.

    Args:
        config: What comes out.
        image: Size of the images.
        num_classes: Number of classes.
    """

    def __init__(self, config: PerceptronConfig, image: ImageShape, num_classes: int) -> None:
        super().__init__()
        self.linear = Linear(image.channels * image.height * image.width, num_classes)
        self.step = activation("binary_step") if config.output == "step" else None
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(
        self, images: Float[Tensor, "B channels height width"]
    ) -> Float[Tensor, "B classes"]:
        """Compute logits while training; else 0 or 1 for every class, or logits if configured."""
        logits = self.linear(images.flatten(1))
        if self.training or self.step is None:
            return logits
        return self.step(logits - logits.amax(dim=1, keepdim=True))
