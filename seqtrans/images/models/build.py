"""Build any image model that a recipe can name."""

from pathlib import Path

from torch import nn

from seqtrans.errors import RecipeError
from seqtrans.images.models.cnn import Cnn, CnnConfig
from seqtrans.images.models.image_shape import ImageShape
from seqtrans.images.models.keras import KerasConfig, build_keras_model
from seqtrans.images.models.lenet import LeNet, LeNetConfig
from seqtrans.images.models.mlp import Mlp, MlpConfig
from seqtrans.images.models.perceptron import Perceptron, PerceptronConfig
from seqtrans.images.models.timm import TimmConfig, timm_model
from seqtrans.images.pretrained.zoo import NetworkConfig, build_network
from seqtrans.nn.kernels.conv_stride_guard import guard_strides

ImageModelConfig = (
    PerceptronConfig
    | MlpConfig
    | LeNetConfig
    | CnnConfig
    | NetworkConfig
    | TimmConfig
    | KerasConfig
)


def build_image_model(
    config: ImageModelConfig, image: ImageShape, num_classes: int, folder: Path | None = None
) -> nn.Module:
    """Build a model with fresh weights, drawn from torch's global generator.

    Args:
        config: Kind and sizes of the model.
        image: Size of an image.
        num_classes: Number of logits.
        folder: Folder of the file with a Keras model's function; None: it is on Python's path.

    Raises:
        RecipeError: The images are too small for it, or timm or Keras can't build it.
    """
    return guard_strides(_build(config, image, num_classes, folder))


def _build(
    config: ImageModelConfig, image: ImageShape, num_classes: int, folder: Path | None
) -> nn.Module:
    match config:
        case PerceptronConfig():
            return Perceptron(config, image, num_classes)
        case MlpConfig():
            return Mlp(config, image, num_classes)
        case LeNetConfig():
            return LeNet(config, image, num_classes)
        case CnnConfig():
            return Cnn(config, image, num_classes)
        case TimmConfig() | KerasConfig():
            return _of_library(config, image, num_classes, folder)
        case _:
            try:
                return build_network(config, image, num_classes)
            except ValueError as error:
                raise RecipeError(f"model: {error}") from error


def _of_library(
    config: TimmConfig | KerasConfig, image: ImageShape, num_classes: int, folder: Path | None
) -> nn.Module:
    if isinstance(config, TimmConfig):
        return timm_model(config, image, num_classes)
    return build_keras_model(config, image, num_classes, folder)
