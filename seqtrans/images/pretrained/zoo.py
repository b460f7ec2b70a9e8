"""The networks whose published weights load here, and what images those expect."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch

from seqtrans.errors import CheckpointError
from seqtrans.images.data.image_files import Resample
from seqtrans.images.data.inference_transform import InputSpec
from seqtrans.images.models.efficientnet_lite import (
    SCALES,
    EfficientNetLite,
    EfficientNetLiteConfig,
)
from seqtrans.images.models.image_shape import ImageShape
from seqtrans.images.models.inception_v3 import InceptionV3, InceptionV3Config
from seqtrans.images.models.resnet import ResNet, ResNetConfig, ResNeXtConfig
from seqtrans.images.models.vgg import Vgg, VggConfig
from seqtrans.images.pretrained.weight_names import renamed
from seqtrans.tensor_types import Tensor

NetworkConfig = (
    ResNetConfig | ResNeXtConfig | VggConfig | InceptionV3Config | EfficientNetLiteConfig
)
Network = ResNet | Vgg | InceptionV3 | EfficientNetLite

_SHOWN_TENSORS = 5
_FIRST_WEIGHT = {  # by kind: tells the families apart before anything is built
    "resnet": "conv1.weight",
    "resnext": "conv1.weight",
    "vgg": "features.0.weight",
    "inception_v3": "Conv2d_1a_3x3.conv.weight",
    "efficientnet_lite": "conv_stem.weight",
}


class Published(NamedTuple):
    """A network with published weights."""

    config: NetworkConfig
    input: InputSpec


class Recognized(NamedTuple):
    """The network that stored weights belong to."""

    name: str
    config: NetworkConfig
    input: InputSpec
    num_classes: int
    weights: dict[str, Tensor]
    """Exactly the tensors of the network, by its names."""


def _imagenet(config: NetworkConfig) -> Published:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    return Published(config, InputSpec(224, 0.875, "bilinear", mean, std))


def _halves(config: NetworkConfig, size: int, resized: int, how: Resample) -> Published:
    half = (0.5, 0.5, 0.5)
    return Published(config, InputSpec(size, size / resized, how, half, half))


PUBLISHED: dict[str, Published] = {
    "resnet18": _imagenet(ResNetConfig(depth=18)),
    "resnet34": _imagenet(ResNetConfig(depth=34)),
    "resnet50": _imagenet(ResNetConfig(depth=50)),
    "resnet101": _imagenet(ResNetConfig(depth=101)),
    "resnet152": _imagenet(ResNetConfig(depth=152)),
    "resnext50_32x4d": _imagenet(ResNeXtConfig(depth=50)),
    "resnext101_32x8d": _imagenet(ResNeXtConfig(depth=101, width_per_group=8)),
    "resnext101_64x4d": _imagenet(ResNeXtConfig(depth=101, cardinality=64)),
    "wide_resnet50_2": _imagenet(ResNeXtConfig(cardinality=1, width_per_group=128)),
    "wide_resnet101_2": _imagenet(ResNeXtConfig(depth=101, cardinality=1, width_per_group=128)),
    "vgg11": _imagenet(VggConfig(depth=11)),
    "vgg13": _imagenet(VggConfig(depth=13)),
    "vgg16": _imagenet(VggConfig(depth=16)),
    "vgg19": _imagenet(VggConfig(depth=19)),
    "vgg11_bn": _imagenet(VggConfig(depth=11, batch_norm=True)),
    "vgg13_bn": _imagenet(VggConfig(depth=13, batch_norm=True)),
    "vgg16_bn": _imagenet(VggConfig(depth=16, batch_norm=True)),
    "vgg19_bn": _imagenet(VggConfig(depth=19, batch_norm=True)),
    "inception_v3": _halves(InceptionV3Config(), 299, 342, "bilinear"),
} | {
    f"tf_efficientnet_{variant}": _halves(
        EfficientNetLiteConfig(variant=variant), scale.image_size, scale.image_size + 32, "bicubic"
    )
    for variant, scale in SCALES.items()
}
"""By timm's names, which are torchvision's but for the last five. Images are prepared as their
authors do; torchvision's Inception v3 moves them from its usual mean to these inside."""


def build_network(config: NetworkConfig, image: ImageShape, num_classes: int) -> Network:
    """Build a network with fresh weights, drawn from torch's global generator.

    Raises:
        ValueError: Images are too small for it.
    """
    match config:
        case ResNetConfig() | ResNeXtConfig():
            return ResNet(config, image, num_classes)
        case VggConfig():
            return Vgg(config, image, num_classes)
        case InceptionV3Config():
            return InceptionV3(config, image, num_classes)
        case EfficientNetLiteConfig():
            return EfficientNetLite(config, image, num_classes)


def recognize(tensors: Mapping[str, Tensor], origin: Path) -> Recognized:
    """Find the network that weights belong to by the names and shapes of all of them.

    Args:
        tensors: By name; in any layout that ``names.renamed`` reads.
        origin: Where they are from, for the error.

    Raises:
        CheckpointError: They are those of no network in ``PUBLISHED``.
    """
    names = renamed(tensors, {}).keys()
    likely = {n: p for n, p in PUBLISHED.items() if _FIRST_WEIGHT[p.config.kind] in names}
    for name, (config, spec) in likely.items():
        with torch.device("meta"):
            skeleton = build_network(config, ImageShape(3, spec.size, spec.size), 1)
        wanted = skeleton.state_dict()
        weights = renamed(tensors, wanted)
        if _fits(weights, wanted, skeleton.heads):
            num_classes = len(weights[f"{skeleton.heads[0]}.bias"])
            return Recognized(name, config, spec, num_classes, weights)
    shown = ", ".join(list(tensors)[:_SHOWN_TENSORS])
    raise CheckpointError(
        f"{origin} holds the weights of an unknown network: {len(tensors)} tensors, {shown}, "
        f"...; known are {', '.join(PUBLISHED)}"
    )


def _fits(
    weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor], heads: Iterable[str]
) -> bool:
    if weights.keys() != wanted.keys():
        return False
    free = {f"{head}.{kind}" for head in heads for kind in ("weight", "bias")}
    return all(
        weights[name].shape[name in free :] == tensor.shape[name in free :]
        for name, tensor in wanted.items()
    )
