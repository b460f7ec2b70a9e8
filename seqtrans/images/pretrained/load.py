"""Weights of networks from local files: safetensors, torch, and folders as on Hugging Face."""

import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from seqtrans.errors import CheckpointError
from seqtrans.images.data.image_files import Resample
from seqtrans.images.data.inference_transform import InputSpec, Rgb
from seqtrans.images.pretrained.weight_names import renamed
from seqtrans.images.pretrained.zoo import NetworkConfig, recognize
from seqtrans.tensor_types import Tensor

_FILES = ("model.safetensors", "pytorch_model.bin")
_TORCH = (".pth", ".pt", ".bin")
_INSIDE = ("state_dict", "model_state_dict", "model")  # where training programs put the weights
_PILLOW: dict[object, Resample] = {2: "bilinear", 3: "bicubic"}
_IMAGENET_CLASSES = Path(__file__).with_name("imagenet_classes.txt")


@dataclass(frozen=True)
class Pretrained:
    """A network found in a file or a folder."""

    name: str
    """As in ``published.PUBLISHED``."""
    config: NetworkConfig
    weights: Mapping[str, Tensor]
    """Exactly the tensors of the network, by its names."""
    classes: tuple[str, ...]
    """The name of every logit."""
    input: InputSpec
    """What images it expects."""


def load_pretrained(path: Path) -> Pretrained:
    """Detect which network a file or folder holds, and read it.

    Args:
        path: ``.safetensors``, a torch file, or a folder with ``config.json`` beside one.

    Raises:
        CheckpointError: It can't be read, or holds no network of ``published.PUBLISHED``.
    """
    network = recognize(read_tensors(path), path)
    about = _read_json(path / "config.json") if path.is_dir() else {}
    _check_architecture(about, network.name, path)
    return Pretrained(
        name=network.name,
        config=network.config,
        weights=network.weights,
        classes=_classes(about, network.num_classes, path),
        input=_input_spec(about, network.input, path),
    )


def weights_for(model: nn.Module, path: Path) -> dict[str, Tensor]:
    """Read weights by the names of ``model``, which need not be a published network.

    Whether they fit is for the one who copies them to say, who may want a new head.

    Raises:
        CheckpointError: The file can't be read.
    """
    return renamed(read_tensors(path), model.state_dict())


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors in a file or folder by name, as stored.

    Raises:
        CheckpointError: It can't be read, or holds anything but tensors and plain values.
    """
    if path.is_dir():
        path = _file_in(path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if path.suffix in _TORCH:
            return _tensors_in(_load_torch(path), path)
    except OSError as error:
        raise CheckpointError(f"{path} can't be read: {error.strerror or error}") from error
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not a valid safetensors file: {error}") from error
    raise CheckpointError(f"{path} is not .safetensors, {', '.join(_TORCH)} or a folder with one")


def _load_torch(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is not a torch file of tensors alone; save a state_dict() with torch.save"
        ) from error
    except Exception as error:  # torch raises nearly anything where a file is damaged
        raise CheckpointError(
            f"{path} is not a valid torch file: it is damaged or truncated"
        ) from error


def imagenet_classes() -> tuple[str, ...]:
    """Return the names of the 1,000 classes of ImageNet (ILSVRC 2012), in their usual order."""
    return tuple(_IMAGENET_CLASSES.read_text(encoding="utf-8").splitlines())


def class_names(count: int) -> tuple[str, ...]:
    """Return default names of classes: those of ImageNet if the count is the same."""
    names = imagenet_classes()
    return names if count == len(names) else tuple(f"class {n}" for n in range(count))


def timm_input(about: Mapping[str, Any], usual: InputSpec | None = None) -> InputSpec:
    """Read from timm's config which images a network expects.

    Args:
        about: A ``pretrained_cfg`` of timm.
        usual: Default for missing values; None: timm's default.

    Raises:
        KeyError, TypeError, ValueError: It has values that are not supported.
    """
    half = (0.5, 0.5, 0.5)
    usual = usual or InputSpec(224, 0.875, "bilinear", half, half)
    return InputSpec(
        size=int(about.get("input_size", (3, usual.size))[-1]),
        crop=float(about.get("crop_pct", usual.crop)),
        interpolation=_interpolation(about.get("interpolation", usual.interpolation)),
        mean=_rgb(about.get("mean", usual.mean)),
        std=_rgb(about.get("std", usual.std)),
    )


def _file_in(folder: Path) -> Path:
    for name in _FILES:
        if (folder / name).is_file():
            return folder / name
    raise CheckpointError(f"{folder} has no {' or '.join(_FILES)}")


def _tensors_in(stored: object, path: Path) -> dict[str, Tensor]:
    """Return the tensors of a state dict, which may be stored with the state of an optimizer."""
    for key in _INSIDE:
        if isinstance(stored, Mapping) and isinstance(stored.get(key), Mapping):
            stored = stored[key]
    if not isinstance(stored, Mapping):
        raise CheckpointError(f"{path} holds a {type(stored).__name__}, expected tensors by name")
    named = cast("Mapping[object, object]", stored)
    tensors = {str(n): t for n, t in named.items() if isinstance(t, Tensor)}
    if not tensors:
        raise CheckpointError(f"{path} holds no tensors by name")
    return tensors


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path} can't be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} must hold one JSON object")
    return cast("dict[str, Any]", values)


def _check_architecture(about: Mapping[str, Any], name: str, folder: Path) -> None:
    """Refuse a network with the tensors of another one but different computations."""
    unlike = {
        "architecture": about.get("architecture", name) != name,  # timm's folders
        "downsample_in_bottleneck": about.get("downsample_in_bottleneck", False),  # those of
        "downsample_in_first_stage": about.get("downsample_in_first_stage", False),  # Hugging
        "hidden_act": about.get("hidden_act", "relu") != "relu",  # Face
    }
    for key, differs in unlike.items():
        if differs:
            raise CheckpointError(
                f"{folder / 'config.json'}: {key} {about[key]!r} is not supported for {name}, to "
                "which the tensors belong"
            )


def _classes(about: Mapping[str, Any], count: int, folder: Path) -> tuple[str, ...]:
    labels = about.get("id2label") or about.get("label_names")
    if isinstance(labels, Mapping):
        labels = [labels.get(str(number)) for number in range(count)]
    if isinstance(labels, Sequence) and not isinstance(labels, str):
        if len(labels) != count or not all(isinstance(label, str) for label in labels):
            raise CheckpointError(
                f"{folder / 'config.json'} must name {count} classes, as many as the weights have"
            )
        return tuple(cast("Sequence[str]", labels))
    return class_names(count)


def _input_spec(about: Mapping[str, Any], usual: InputSpec, folder: Path) -> InputSpec:
    """Read a folder's preprocessing of images; by default that of the network."""
    stated = folder / "preprocessor_config.json"
    try:
        if "pretrained_cfg" in about:
            return timm_input(about["pretrained_cfg"], usual)
        if stated.is_file():
            return _hugging_face_input(_read_json(stated), usual)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{folder}: unsupported preprocessing of images: {error!r}"
        ) from error
    return usual


def _hugging_face_input(about: Mapping[str, Any], usual: InputSpec) -> InputSpec:
    size = about.get("size", usual.size)
    if isinstance(size, Mapping):
        size = size.get("shortest_edge") or size["height"]
    resample = about.get("resample", usual.interpolation)  # a name, or Pillow's number of it
    return InputSpec(
        size=int(size),
        crop=float(about.get("crop_pct") or usual.crop),
        interpolation=_interpolation(_PILLOW.get(resample, resample)),
        mean=_rgb(about.get("image_mean", usual.mean)),
        std=_rgb(about.get("image_std", usual.std)),
    )


def _interpolation(name: object) -> Resample:
    for known in get_args(Resample):
        if name == known:
            return known
    raise ValueError(f"interpolation {name!r} is not known")


def _rgb(values: Sequence[float]) -> Rgb:
    red, green, blue = map(float, values)
    return red, green, blue
