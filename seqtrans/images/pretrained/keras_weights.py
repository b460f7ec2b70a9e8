"""Weights of Keras models from local files: ``.weights.h5``, ``.keras``, and the older ``.h5``."""

import warnings
from pathlib import Path
from typing import Any

import torch

from seqtrans.errors import CheckpointError
from seqtrans.images.models.keras import KerasModel
from seqtrans.images.models.user_function import error_summary

KERAS_SUFFIXES = (".h5", ".hdf5", ".keras")
_SHOWN = 5
_LEGACY = (".h5", ".hdf5")


@torch.no_grad()
def load_keras_file(model: KerasModel, path: Path) -> list[str]:
    """Fill a fresh model with the weights of a file, except last layers of another shape.

    Files of Keras 3 are matched by the place of a layer in the model, older ones by its name. Only
    weights are read: no code in a file is run.

    Args:
        model: What to fill, on the CPU.
        path: Weights, or a whole model.

    Returns:
        Names of the tensors that the file lacks or has in another shape, and that stay as they are:
        all those from some layer on.

    Raises:
        CheckpointError: The file can't be read, or lacks more than the last layers; ``model`` is
            as it was.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    tensors = model.weights
    fresh = {name: tensor.clone() for name, tensor in tensors.items()}
    new = list(tensors)
    for tensor in tensors.values():
        tensor.fill_(torch.nan)  # what keeps it was not in the file
    try:
        _load(model.keras_model, path)
        left = [name for name, tensor in tensors.items() if tensor.isnan().all()]
        _check(list(tensors), left, path)
        new = left
    finally:
        for name in new:
            tensors[name].copy_(fresh[name])
    return new


def _load(model: Any, path: Path) -> None:
    by_name = path.suffix in _LEGACY and not path.name.endswith(".weights.h5")
    inner = [layer for layer in model.layers if hasattr(layer, "load_weights")]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what does not fit, which is found out here
            for part in (model, *inner) if by_name else (model,):
                part.load_weights(
                    path, skip_mismatch=True, **({"by_name": True} if by_name else {})
                )
    except Exception as error:
        raise CheckpointError(
            f"{path} is not a readable file of Keras: {error_summary(error)}"
        ) from error


def _check(names: list[str], new: list[str], path: Path) -> None:
    if len(new) == len(names):
        raise CheckpointError(f"{path} holds no weights of this model's layers")
    if new and new != names[-len(new) :]:
        listed = ", ".join(new[:_SHOWN]) + (", ..." if len(new) > _SHOWN else "")
        raise CheckpointError(
            f"{path} does not fit this model: it lacks, or has in other shapes, {listed}; only the "
            "last layers may be new"
        )
