"""Start a run of an image classifier from the weights of another one, or of others."""

from collections.abc import Iterable
from pathlib import Path

from torch import nn

from seqtrans.images.models.keras import KerasModel
from seqtrans.images.pretrained.keras_weights import KERAS_SUFFIXES, load_keras_file
from seqtrans.images.pretrained.load import weights_for
from seqtrans.images.recipe.load_data import ImageFacts, stored_facts
from seqtrans.training.checkpoints.find import find_checkpoint
from seqtrans.training.checkpoints.format import read_inference_weights
from seqtrans.training.checkpoints.run_directory import open_run
from seqtrans.training.checkpoints.weights import fill, named_weights


def start_from(origin: Path, model: nn.Module, facts: ImageFacts) -> str:
    """Fill a fresh image model with the weights of another; a last layer of other classes stays.

    Args:
        origin: A run of an image classifier, or weights as ``weights_for`` reads them.
        model: What to fill.
        facts: What ``model`` is for.

    Returns:
        What was done, in words.

    Raises:
        CheckpointError: There are no such weights, or the models differ in more than the classes.
    """
    classes = None
    if (origin / "recipe.yaml").is_file():
        run = open_run(origin)
        origin = find_checkpoint(run, "best")
        weights, stored = read_inference_weights(origin), stored_facts(run)
        classes = stored.classes if stored else None
    elif isinstance(model, KerasModel) and origin.suffix in KERAS_SUFFIXES:
        return _start_from_keras(origin, model)
    else:
        weights = weights_for(model, origin)
    fresh = named_weights(model)
    last = {name: fresh[name] for name in _last_layers(model, len(facts.classes))}
    same = all(name not in weights or weights[name].shape == last[name].shape for name in last)
    if same and classes in (None, facts.classes):
        fill(model, weights, str(origin))
        return f"starting from the weights of {origin}"
    fill(model, {**weights, **last}, str(origin))
    return f"starting from the weights of {origin}" + _new(last)


def _start_from_keras(origin: Path, model: KerasModel) -> str:
    new = load_keras_file(model, origin)
    return f"starting from the weights of {origin}" + _new(new)


def _new(names: Iterable[str]) -> str:
    listed = ", ".join(names)
    return f"; new for these classes: {listed}" if listed else ""


def _last_layers(model: nn.Module, num_classes: int) -> list[str]:
    """Return the names of the tensors with a row for every class."""
    tensors = named_weights(model)
    if isinstance(model, KerasModel):
        return [name for name in model.last_layer if tensors[name].shape[-1] == num_classes]
    linear = [n for n, part in model.named_modules() if isinstance(part, nn.Linear)]
    known = getattr(model, "heads", None) or linear[-1:]
    names = [f"{name}.{kind}" for name in known for kind in ("weight", "bias")]
    return [name for name in names if name in tensors and len(tensors[name]) == num_classes]
