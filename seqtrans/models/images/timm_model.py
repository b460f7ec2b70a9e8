"""Any network of timm by its name: the one wrapper of timm, by the extra ``timm``."""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from seqtrans.errors import RecipeError
from seqtrans.models.images.shape import ImageShape


@dataclass(frozen=True, kw_only=True)
class TimmConfig:
    """A network of the library timm; needs ``pip install 'seqtrans[timm]'``."""

    kind: Literal["timm"] = "timm"
    name: str
    """As ``timm.list_models()`` has it, such as ``resnet50d`` or ``resnet50.a1_in1k``."""
    pretrained: bool = False
    """Start from timm's weights for this name, which it downloads the first time."""


def timm_model(config: TimmConfig, image: ImageShape, num_classes: int) -> nn.Module:
    """Build the network: images to logits.

    Raises:
        RecipeError: timm is not installed, has no such network, or can't build it so.
    """
    try:
        import timm  # pyright: ignore[reportMissingImports]
    except (ImportError, RuntimeError) as error:  # a torchvision of another torch: RuntimeError
        raise RecipeError(
            f"model.kind 'timm' needs pip install 'seqtrans[timm]': {_line(error)}"
        ) from error
    if not timm.is_model(config.name):
        near = ", ".join(timm.list_models(f"*{config.name.split('.')[0]}*")[:5])
        raise RecipeError(
            f"model.name: timm has no '{config.name}'" + (f"; near are {near}" if near else "")
        )
    if config.pretrained and not timm.is_model_pretrained(config.name):
        raise RecipeError(f"model.pretrained: timm has no weights for '{config.name}'")
    stated = timm.get_pretrained_cfg(config.name)
    size = {"img_size": (image.height, image.width)} if stated and stated.fixed_input_size else {}
    try:
        return timm.create_model(
            config.name,
            pretrained=config.pretrained,
            num_classes=num_classes,
            in_chans=image.channels,
            **size,
        )
    except (RuntimeError, TypeError, ValueError, AssertionError, OSError) as error:
        raise RecipeError(f"model: timm can't build '{config.name}': {_line(error)}") from error


def _line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
