"""Any network of timm by its name: the one wrapper of timm, by the extra ``timm``."""

from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import nn

from seqtrans.errors import RecipeError, suggestion
from seqtrans.images.models.image_shape import ImageShape


@dataclass(frozen=True, kw_only=True)
class TimmConfig:
    """A network of the library timm; needs ``pip install 'seqtrans[timm]'``."""

    kind: Literal["timm"] = "timm"
    name: str
    """As ``timm.list_models()`` has it, such as ``resnet50d`` or ``resnet50.a1_in1k``."""
    pretrained: bool = False
    """Start from timm's weights for this name, which it downloads the first time."""


def timm_model(config: TimmConfig, image: ImageShape, num_classes: int) -> nn.Module:
    """Build the network, images to logits, and try it on one image.

    Raises:
        RecipeError: timm is not installed, has no such network, or can't build it so.
    """
    timm, name = _timm(), config.name
    _check_name(timm, name, "model.name: ")
    if config.pretrained and not timm.is_model_pretrained(name):
        raise RecipeError(f"model.pretrained: timm has no weights for '{name}'")
    try:
        stated = timm.get_pretrained_cfg(name)
        fixed = stated is not None and stated.fixed_input_size
        model: nn.Module = timm.create_model(
            name,
            pretrained=config.pretrained,
            num_classes=num_classes,
            in_chans=image.channels,
            **({"img_size": (image.height, image.width)} if fixed else {}),
        )
        with torch.no_grad():  # only so are sizes found that the network can't see
            model.eval()(torch.zeros(1, *image))
    except (RuntimeError, TypeError, ValueError, AssertionError, OSError) as error:
        raise RecipeError(
            f"model: timm can't build '{name}' for these images: {_line(error)}"
        ) from error
    return model.train()


def timm_pretrained(name: str) -> tuple[nn.Module, dict[str, Any]]:
    """Load a network with timm's weights, downloaded once, and its ``pretrained_cfg``.

    Raises:
        RecipeError: timm is not installed, has no such network, or no weights for it.
    """
    timm = _timm()
    _check_name(timm, name, "")
    if not timm.is_model_pretrained(name):
        raise RecipeError(f"timm has no weights for '{name}'")
    try:
        model: nn.Module = timm.create_model(name, pretrained=True)
    except (RuntimeError, ValueError, OSError) as error:
        raise RecipeError(f"timm can't load '{name}': {_line(error)}") from error
    return model, dict(cast("Any", model).pretrained_cfg)


def _timm() -> Any:
    try:
        import timm  # pyright: ignore[reportMissingImports]
    except (ImportError, RuntimeError) as error:
        raise RecipeError(
            "models of timm need pip install 'seqtrans[timm]' and a torchvision made for "
            f"torch {torch.__version__}: {_line(error)}"
        ) from error
    return timm


def _check_name(timm: Any, name: str, place: str) -> None:
    if not timm.is_model(name):
        hint = suggestion(name, timm.list_models())
        raise RecipeError(f"{place}timm has no '{name}'{hint}")


def _line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
