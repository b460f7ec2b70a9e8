"""Plain and residual blocks of convolutional networks."""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from seqtrans.nn.activations import ActivationName, activation
from seqtrans.tensor_types import Float, Tensor

Pool = Literal["max", "average"]

NEVER_FALL = frozenset[ActivationName](
    {"logistic", "tanh", "arctan", "softsign", "relu", "softplus", "leaky_relu", "elu"}
)
"""Non-decreasing activations. The binary step is left out: it passes a gradient to every 1, but
after max pooling only one of them would get it."""


@dataclass(frozen=True, kw_only=True)
class Convolution:
    """Sizes of a convolution.

    Args:
        channels: Channels of its input.
        filters: Channels of its output.
        kernel: Height and width of the kernel, in pixels.
        stride: Pixels from one output to the next.
        padding: Rows and columns of zeros around the input.
        batch_norm: Normalize every channel over the batch (arXiv:1502.03167). The convolution then
            has no bias, which the normalization would cancel.
    """

    channels: int
    filters: int
    kernel: int
    stride: int = 1
    padding: int = 0
    batch_norm: bool = False

    def size(self, before: int) -> int:
        """Return the height or width of the output; less than 1 if the input is too small."""
        return (before + 2 * self.padding - self.kernel) // self.stride + 1

    def build(self) -> nn.Sequential:
        """Build the convolution with its normalization."""
        convolution = nn.Conv2d(
            self.channels,
            self.filters,
            self.kernel,
            stride=self.stride,
            padding=self.padding,
            bias=not self.batch_norm,
        )
        norm = (nn.BatchNorm2d(self.filters),) if self.batch_norm else ()
        return nn.Sequential(convolution, *norm)


class PlainBlock(nn.Module):
    """A convolution, an activation and optional pooling.

    Max pooling and a non-decreasing activation can be exchanged, so the maximum is taken first: the
    same outputs and gradients with a quarter of the work.

    Args:
        convolution: Sizes of the convolution.
        activation_name: Applied after it.
        pooling: Halves height and width at the end, if not None.
    """

    def __init__(
        self,
        convolution: Convolution,
        activation_name: ActivationName,
        pooling: Pool | None = None,
    ) -> None:
        super().__init__()
        self.convolution = convolution.build()
        self.activation = activation(activation_name)
        self.pool = pool(pooling) if pooling else None
        self.pools_first = pooling == "max" and activation_name in NEVER_FALL

    def forward(
        self, x: Float[Tensor, "B channels height width"]
    ) -> Float[Tensor, "B filters lower narrower"]:
        """Transform every image."""
        x = self.convolution(x)
        if self.pool is None:
            return self.activation(x)
        if self.pools_first:
            return self.activation(self.pool(x))
        return self.pool(self.activation(x))


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut: the basic block of arXiv:1512.03385, 3.2.

    The shortcut is the identity, or a 1 x 1 convolution if the first convolution changes the number
    of channels or, by its stride, the size. According to the paper, a shortcut around a single
    convolution has no advantage.

    Args:
        convolution: Sizes of the first convolution; the second has the same kernel. The padding
            must be half the kernel, rounded down, and the kernel odd.
        activation_name: Applied between the convolutions, and to the sum.
    """

    def __init__(self, convolution: Convolution, activation_name: ActivationName) -> None:
        super().__init__()
        filters, batch_norm = convolution.filters, convolution.batch_norm
        second = Convolution(
            channels=filters,
            filters=filters,
            kernel=convolution.kernel,
            padding=convolution.padding,
            batch_norm=batch_norm,
        )
        shortcut = Convolution(
            channels=convolution.channels,
            filters=filters,
            kernel=1,
            stride=convolution.stride,
            batch_norm=batch_norm,
        )
        fits = convolution.channels == filters and convolution.stride == 1
        self.first = convolution.build()
        self.between = activation(activation_name)
        self.second = second.build()
        self.shortcut = nn.Identity() if fits else shortcut.build()
        self.activation = activation(activation_name)

    def forward(
        self, x: Float[Tensor, "B channels height width"]
    ) -> Float[Tensor, "B filters lower narrower"]:
        """Transform every image."""
        branch = self.second(self.between(self.first(x)))
        return self.activation(branch + self.shortcut(x))


def pool(kind: Pool) -> nn.Module:
    """Build a layer that halves height and width by the maximum or mean of every 2 x 2 pixels.

    An odd last row or column is dropped.
    """
    return nn.MaxPool2d(2) if kind == "max" else nn.AvgPool2d(2)
