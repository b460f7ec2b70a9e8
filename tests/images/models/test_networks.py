"""Whole networks: sizes, channels, heads and what their configs refuse."""

import pytest
import torch

from seqtrans.images.models.efficientnet_lite import EfficientNetLiteConfig
from seqtrans.images.models.image_shape import ImageShape
from seqtrans.images.models.inception_v3 import InceptionV3, InceptionV3Config
from seqtrans.images.models.resnet import ResNet, ResNetConfig, ResNeXtConfig
from seqtrans.images.models.vgg import VggConfig
from seqtrans.images.pretrained.zoo import build_network

SMALL = [
    (ResNetConfig(depth=20, stem="cifar"), 9),
    (ResNetConfig(depth=18), 33),
    (ResNeXtConfig(cardinality=2, width_per_group=4, stem="cifar"), 8),
    (VggConfig(depth=11, batch_norm=True, hidden_dim=6, dropout=0.0), 32),
    (InceptionV3Config(dropout=0.0), 75),
    (EfficientNetLiteConfig(dropout=0.0), 40),
]


@pytest.mark.parametrize(("config", "size"), SMALL, ids=lambda value: getattr(value, "kind", ""))
def test_every_weight_learns_from_images_of_any_number_of_channels(config, size):
    torch.manual_seed(0)
    model = build_network(config, ImageShape(2, size, size + 3), num_classes=5)
    images = torch.randn(2, 2, size, size + 3)
    logits = model(images)
    assert logits.shape == (2, 5)
    logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    model.eval()
    with torch.no_grad():
        together, channels_last = model(images), model(images.to(memory_format=torch.channels_last))
        alone = torch.cat([model(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(together, channels_last, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("config", "size", "message"),
    [
        (VggConfig(), 31, r"vgg needs images of 32x32 pixels or more, not 31x40"),
        (InceptionV3Config(), 74, "auxiliary: false needs images of 75x75 .* not 74x40"),
        (InceptionV3Config(auxiliary=True), 298, "auxiliary: true needs images of 299x299"),
    ],
)
def test_images_too_small_are_refused(config, size, message):
    with pytest.raises(ValueError, match=message):
        build_network(config, ImageShape(3, size, 40), 10)


def test_a_small_network_needs_the_small_stem():
    with pytest.raises(ValueError, match=r"depth 20 is a network for small .* stem: cifar"):
        ResNetConfig(depth=20)


@pytest.mark.parametrize(("stem", "left"), [("imagenet", 8), ("cifar", 32)])
def test_what_the_stem_leaves_of_an_image(stem, left):
    with torch.device("meta"):
        model = ResNet(ResNetConfig(stem=stem), ImageShape(3, 32, 32), 10)
        sizes = []
        for name in ("layer1", "layer4"):
            part = model.get_submodule(name)
            part.register_forward_hook(lambda _, __, y: sizes.append(y.shape[-1]))
        model(torch.empty(2, 3, 32, 32))
    assert sizes == [left, left // 8]


def test_blocks_that_start_as_shortcuts_leave_the_first_stage_alone():
    torch.manual_seed(0)
    config = ResNetConfig(depth=20, stem="cifar", zero_init_residual=True)
    model = ResNet(config, ImageShape(3, 8, 8), 10)
    x = torch.randn(2, 16, 8, 8).relu()
    torch.testing.assert_close(model.get_submodule("layer1")(x), x)


def test_the_auxiliary_classifier_learns_beside_the_last():
    torch.manual_seed(0)
    model = InceptionV3(InceptionV3Config(auxiliary=True), ImageShape(3, 299, 299), 4).eval()
    images = torch.randn(1, 3, 299, 299)
    logits, auxiliary = model(images, with_auxiliary=True)
    assert auxiliary.shape == logits.shape == (1, 4)
    auxiliary.sum().backward()
    reached = {n for n, p in model.named_parameters() if p.grad is not None}
    later = ("Mixed_7", "fc.")
    assert reached == {n for n, _ in model.named_parameters() if not n.startswith(later)}
    with torch.no_grad():
        torch.testing.assert_close(model(images), logits)
        model.drop_auxiliary()
        torch.testing.assert_close(model(images), logits)
    assert not any(name.startswith("AuxLogits") for name in model.state_dict())


def test_without_one_there_is_no_auxiliary_classifier():
    with torch.device("meta"):
        model = InceptionV3(InceptionV3Config(), ImageShape(3, 75, 75), 4)
        assert model(torch.empty(2, 3, 75, 75)).shape == (2, 4)
    assert not any("Aux" in name for name in model.state_dict())


def test_paths_are_dropped_ever_more_often():
    config = EfficientNetLiteConfig(variant="lite1", drop_path=0.2)
    with torch.device("meta"):
        model = build_network(config, ImageShape(3, 32, 32), 10)
    rates = [p.drop_path for p in model.blocks.modules() if hasattr(p, "drop_path")]
    assert len(rates) == sum(len(stage) for stage in model.blocks) - 1
    steps = torch.tensor(rates).diff()
    torch.testing.assert_close(steps, steps[:1].expand_as(steps))
    assert 0 < rates[0] < rates[-1] < 0.2
