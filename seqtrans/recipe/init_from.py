"""Starting a run from the weights of another one."""

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import nn

from seqtrans.images.models.keras import KerasModel
from seqtrans.images.pretrained.keras_weights import KERAS_SUFFIXES, load_keras_file
from seqtrans.images.pretrained.load import weights_for
from seqtrans.images.recipe.load_data import ImageFacts, stored_facts
from seqtrans.runtime.files.atomic_files import write_atomically
from seqtrans.training.checkpoints.find import find_checkpoint
from seqtrans.training.checkpoints.format import read_inference_weights
from seqtrans.training.checkpoints.run_directory import RunDirectory, open_run
from seqtrans.training.checkpoints.weights import RowMap, carry_over, fill, named_weights
from seqtrans.translation.models.encoder_decoder import EncoderDecoder
from seqtrans.translation.protocols import Segmenter
from seqtrans.translation.recipe.schema import InitFrom
from seqtrans.translation.tokenization.segmenters import Segmenters, load_segmenters


def copy_vocabulary(origin: InitFrom, run: RunDirectory) -> None:
    """Give ``run`` the vocabulary of the run it starts from.

    Raises:
        CheckpointError: There is no such run, or its vocabulary is damaged.
    """
    folder = open_run(origin.run).vocabulary
    load_segmenters(folder)  # finds damage
    # The index that makes a vocabulary complete comes last.
    for file in sorted(folder.iterdir(), key=lambda file: file.suffix == ".yaml"):
        write_atomically(run.vocabulary / file.name, file.read_bytes())


def start_from(origin: InitFrom, model: EncoderDecoder, segmenters: Segmenters) -> str:
    """Fill a fresh model with the weights of another run.

    Args:
        origin: The other run. Where its vocabulary was not kept, tokens that both vocabularies
            have take their vectors along; the others keep fresh ones.
        model: What to fill.
        segmenters: Those of ``model``.

    Returns:
        What was done, in words.

    Raises:
        CheckpointError: There is no such checkpoint, or the models differ in more than the
            vocabulary.
    """
    run = open_run(origin.run)
    checkpoint = find_checkpoint(run, str(origin.checkpoint))
    weights = read_inference_weights(checkpoint)
    if origin.vocabulary == "keep":
        fill(model, weights, str(checkpoint))
        return f"starting from the weights of {checkpoint}"
    stored = load_segmenters(run.vocabulary)
    source, target = map(shared_rows, stored, segmenters)
    by_tensor = {
        "source_embedding.weight": source,
        "target_embedding.weight": target,
        "output.weight": target,
        "output.bias": target,
    }
    rows = {name: by_tensor[name] for name in named_weights(model) if name in by_tensor}
    carry_over(model, weights, rows, str(checkpoint))
    return (
        f"starting from the weights of {checkpoint}; of {len(segmenters.source.pieces):,} source "
        f"and {len(segmenters.target.pieces):,} target tokens, {len(source.new):,} and "
        f"{len(target.new):,} bring their vectors along"
    )


def start_classifier_from(origin: Path, model: nn.Module, facts: ImageFacts) -> str:
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
    own = named_weights(model)
    last = {name: own[name] for name in _last_layers(model, len(facts.classes))}
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
    """Names of the tensors with a row for every class."""
    tensors = named_weights(model)
    if isinstance(model, KerasModel):
        return [name for name in model.last_layer if tensors[name].shape[-1] == num_classes]
    linear = [n for n, part in model.named_modules() if isinstance(part, nn.Linear)]
    known = getattr(model, "heads", None) or linear[-1:]
    names = [f"{name}.{kind}" for name in known for kind in ("weight", "bias")]
    return [name for name in names if name in tensors and len(tensors[name]) == num_classes]


def shared_rows(stored: Segmenter, new: Segmenter) -> RowMap:
    """Ids of the tokens that two vocabularies share; the special ones correspond by their role."""
    special = dict(zip(new.specials, stored.specials, strict=True))
    known = {piece: i for i, piece in enumerate(stored.pieces) if i not in stored.specials}
    pairs = [
        (special[i] if i in special else known[piece], i)
        for i, piece in enumerate(new.pieces)
        if i in special or piece in known
    ]
    old_ids, new_ids = zip(*pairs, strict=True)
    return RowMap(torch.tensor(old_ids), torch.tensor(new_ids))
