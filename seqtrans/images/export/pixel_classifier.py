"""The exported model: a classifier of raw pixels, and a description of its input and output."""

from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import torch
from torch import nn

from seqtrans.tensor_types import Float, Tensor


@dataclass(frozen=True, kw_only=True)
class Contract:
    """Input and output of an exported classifier.

    Attributes:
        classes: Names of the classes in the order of the logits.
        channels: Channels of an image.
        height: Its rows.
        width: Its columns.
        mean: Mean of every channel, or of all; full intensity is 1. The file subtracts it itself.
        std: Standard deviation in the same unit. The file divides by it itself.
        model: Kind of the model, as in a recipe.
        checkpoint: Which of the run the weights are from.
    """

    classes: tuple[str, ...]
    channels: int
    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    model: str
    checkpoint: str

    def described(self) -> dict[str, Any]:
        """Return all values to store in the file, as JSON values."""
        values = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}
        return {
            **values,
            "input": "images: float32 (batch, channels, height, width), pixels from 0 to 255, "
            "not normalized",
            "output": "logits: float32 (batch, classes)",
            "seqtrans": version("seqtrans"),
        }


class PixelClassifier(nn.Module):
    """A classifier with the normalisation of its images inside.

    Args:
        model: Normalized images to logits; it is put into evaluation mode.
        contract: Has the mean and the deviation.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, model: nn.Module, contract: Contract) -> None:
        super().__init__()
        self.model = model
        mean, std = (torch.tensor(v, dtype=torch.float64) for v in (contract.mean, contract.std))
        self.register_buffer("scale", (1 / (255 * std)).float()[:, None, None])
        self.register_buffer("shift", (-mean / std).float()[:, None, None])
        self.eval()

    def forward(
        self, images: Float[Tensor, "B channels height width"]
    ) -> Float[Tensor, "B classes"]:
        """Compute the logits of images.

        Args:
            images: Pixels from 0 to 255.
        """
        return self.model(images * self.scale + self.shift)
