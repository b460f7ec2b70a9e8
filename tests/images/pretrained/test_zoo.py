"""Networks with published weights: every name and shape, in order, beside the originals'."""

import hashlib

import pytest
import torch
from torch import nn

from seqtrans.images.models.image_shape import ImageShape
from seqtrans.images.models.inception_v3 import InceptionV3Config
from seqtrans.images.models.resnet import ResNetConfig, ResNeXtConfig
from seqtrans.images.models.vgg import VggConfig
from seqtrans.images.pretrained.zoo import PUBLISHED, build_network

# Parameters, tensors and names with shapes (see ``fingerprint``) of what torchvision 0.29.2 makes,
# and timm 1.0.31 in the last five.
ORIGINALS = [
    ("resnet18", 11_689_512, 122, "761022b221a3"),
    ("resnet34", 21_797_672, 218, "1a060acae7a4"),
    ("resnet50", 25_557_032, 320, "3fa57287149b"),
    ("resnet101", 44_549_160, 626, "0e9191dd134c"),
    ("resnet152", 60_192_808, 932, "47360b6062c7"),
    ("resnext50_32x4d", 25_028_904, 320, "01e2eaa8da40"),
    ("resnext101_32x8d", 88_791_336, 626, "07e967fd83ad"),
    ("resnext101_64x4d", 83_455_272, 626, "ea9d27eaae83"),
    ("wide_resnet50_2", 68_883_240, 320, "07e4b58a5307"),
    ("wide_resnet101_2", 126_886_696, 626, "e730908dc76a"),
    ("vgg11", 132_863_336, 22, "a4a2a4a84e73"),
    ("vgg13", 133_047_848, 26, "9dc9518e7646"),
    ("vgg16", 138_357_544, 32, "6f36a6fd49b6"),
    ("vgg19", 143_667_240, 38, "e05a894c9ad1"),
    ("vgg11_bn", 132_868_840, 62, "6aaf84aad415"),
    ("vgg13_bn", 133_053_736, 76, "9a11dd9903f0"),
    ("vgg16_bn", 138_365_992, 97, "5f99e428d932"),
    ("vgg19_bn", 143_678_248, 118, "4c042cc97e1d"),
    ("inception_v3", 27_161_264, 580, "68f61e7f9f93"),
    ("tf_efficientnet_lite0", 4_652_008, 296, "94c9204d9a5f"),
    ("tf_efficientnet_lite1", 5_416_680, 386, "5625b12dbe97"),
    ("tf_efficientnet_lite2", 6_092_072, 386, "6b9e923cbbee"),
    ("tf_efficientnet_lite3", 8_197_096, 440, "4fcd83cad698"),
    ("tf_efficientnet_lite4", 13_006_568, 548, "be5ad2c43be9"),
]


def skeleton(config, num_classes=1000):
    with torch.device("meta"):
        return build_network(config, ImageShape(3, 299, 299), num_classes)


def fingerprint(model):
    lines = "".join(f"{n} {tuple(t.shape)}\n" for n, t in model.state_dict().items())
    return hashlib.sha256(lines.encode()).hexdigest()[:12]


def num_parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("name", "parameters", "tensors", "names"), ORIGINALS)
def test_weights_are_named_and_shaped_as_in_the_original(name, parameters, tensors, names):
    config = PUBLISHED[name].config
    if name == "inception_v3":
        config = InceptionV3Config(auxiliary=True)
    model = skeleton(config)
    assert num_parameters(model) == parameters
    assert len(model.state_dict()) == tensors
    assert fingerprint(model) == names


def test_all_published_networks_were_compared():
    assert PUBLISHED.keys() == {name for name, *_ in ORIGINALS}


def test_the_first_and_last_names_of_a_bottleneck_stage():
    names = [n for n in skeleton(ResNetConfig(depth=50)).state_dict() if "num_batches" not in n]
    norm = ["weight", "bias", "running_mean", "running_var"]
    stem = ["conv1.weight", *(f"bn1.{part}" for part in norm)]
    first = [
        f"layer1.0.{name}"
        for number in (1, 2, 3)
        for name in (f"conv{number}.weight", *(f"bn{number}.{part}" for part in norm))
    ]
    shortcut = ["layer1.0.downsample.0.weight", *(f"layer1.0.downsample.1.{p}" for p in norm)]
    assert names[:25] == [*stem, *first, *shortcut]
    assert names[-2:] == ["fc.weight", "fc.bias"]


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152, 20, 32, 44, 56, 110])
def test_depth_counts_the_layers_with_weights(depth):
    model = skeleton(ResNetConfig(depth=depth, stem="cifar"))
    layers = [
        name
        for name, part in model.named_modules()
        if isinstance(part, nn.Conv2d | nn.Linear) and "downsample" not in name
    ]
    assert len(layers) == depth


@pytest.mark.parametrize("depth", [11, 13, 16, 19])
def test_depth_of_a_plain_network_counts_the_layers_with_weights(depth):
    parts = skeleton(VggConfig(depth=depth)).modules()
    assert sum(isinstance(part, nn.Conv2d | nn.Linear) for part in parts) == depth


@pytest.mark.parametrize(
    ("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)]
)
def test_small_networks_have_as_many_weights_as_the_paper_says(depth, millions):
    """arXiv:1512.03385, table 6; projections of the two wider stages add 2,560 and 192."""
    model = skeleton(ResNetConfig(depth=depth, stem="cifar"), num_classes=10)
    assert num_parameters(model) / 1e6 == pytest.approx(millions, abs=0.04)
    projections = sum(p.numel() for n, p in model.named_parameters() if "downsample" in n)
    assert projections == 16 * 32 + 32 * 64 + 2 * (32 + 64)


def test_the_heads_are_what_the_number_of_classes_sizes():
    for name in ("resnet18", "vgg11", "inception_v3", "tf_efficientnet_lite0"):
        config = InceptionV3Config(auxiliary=True) if name == "inception_v3" else None
        model = skeleton(config or PUBLISHED[name].config, num_classes=7)
        rows = {n for n, p in model.named_parameters() if len(p) == 7}
        assert rows == {f"{head}.{kind}" for head in model.heads for kind in ("weight", "bias")}


def test_cardinality_divides_the_weights_of_the_middle():
    one, many = (
        skeleton(ResNeXtConfig(cardinality=c, width_per_group=128 // c)).layer1[0].conv2.weight
        for c in (1, 32)
    )
    assert one.numel() == 32 * many.numel()


@pytest.mark.parametrize(
    ("name", "epsilon", "momentum"),
    [
        ("resnet18", 1e-5, 0.1),
        ("vgg11_bn", 1e-5, 0.1),
        ("inception_v3", 1e-3, 0.1),
        ("tf_efficientnet_lite0", 1e-3, 0.01),
    ],
)
def test_constants_of_normalization_are_those_of_the_original(name, epsilon, momentum):
    """They are not in the weights but change what those give."""
    parts = skeleton(PUBLISHED[name].config).modules()
    norms = [part for part in parts if isinstance(part, nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(epsilon, momentum)}
