"""Exported files, loaded by the libraries that will load them, answer as the model does."""

import json
import sys
import warnings

import pytest
import torch
from torch import nn

from seqtrans.errors import ExportError
from seqtrans.images.export.pixel_classifier import Contract, PixelClassifier
from seqtrans.images.export.torch_formats import TorchScript
from seqtrans.images.export.verify import SUFFIXES, Sample, open_format, write_checked
from seqtrans.images.models.build import build_image_model
from seqtrans.images.models.cnn import BlockConfig, CnnConfig
from seqtrans.images.models.efficientnet_lite import EfficientNetLiteConfig
from seqtrans.images.models.image_shape import ImageShape
from seqtrans.images.models.inception_v3 import InceptionV3Config
from seqtrans.images.models.lenet import LeNetConfig
from seqtrans.images.models.mlp import MlpConfig
from seqtrans.images.models.perceptron import PerceptronConfig
from seqtrans.images.models.resnet import ResNetConfig, ResNeXtConfig
from seqtrans.images.models.vgg import VggConfig

MEAN, STD = (0.1, 0.5, 0.7), (0.2, 0.3, 0.4)
CNN = CnnConfig(
    blocks=(
        BlockConfig(filters=4, pool="average", dropout=0.5, activation="mish"),
        BlockConfig(filters=5, residual=True, stride=2),
    ),
    widths=(8,),
    activation="binary_step",
    dropout=0.5,
)
SMALL = {
    "perceptron": (PerceptronConfig(output="logits"), 6),
    "mlp": (MlpConfig(widths=(9,), dropout=0.5), 6),
    "lenet": (LeNetConfig(filters=(3, 4), widths=(7,)), 13),
    "cnn": (CNN, 9),
    "resnet": (ResNetConfig(depth=20, stem="cifar"), 9),
    "resnext": (ResNeXtConfig(cardinality=2, width_per_group=2, stem="cifar"), 8),
    "vgg": (VggConfig(depth=11, hidden_dim=6), 32),
    "inception_v3": (InceptionV3Config(), 75),
    "efficientnet_lite": (EfficientNetLiteConfig(), 40),
}


def made(kind, classes=5):
    """A model whose weights and statistics are all drawn at random, and its contract."""
    torch.manual_seed(0)
    config, size = SMALL[kind]
    model = build_image_model(config, ImageShape(3, size, size + 3), classes).eval()
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(std=0.1)
            part.running_var.uniform_(0.5, 2)
    if kind == "perceptron":
        model.linear.weight.data.normal_()
    contract = Contract(
        classes=tuple(f"class {n}, ä" for n in range(classes)),
        channels=3,
        height=size,
        width=size + 3,
        mean=MEAN,
        std=STD,
        model=kind,
        checkpoint="60",
    )
    return model, contract


@torch.no_grad()
def sampled(model, contract, batch):
    """Random images and what the model says of them, normalized here."""
    shape = (batch, contract.channels, contract.height, contract.width)
    pixels = torch.randint(256, shape, dtype=torch.uint8)
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    return Sample("random images", pixels, model((pixels.float() / 255 - mean) / std))


def exported(kind, name, path):
    model, contract = made(kind)
    network = PixelClassifier(model, contract)
    samples = [sampled(model, contract, batch) for batch in (1, 3)]
    off = write_checked(network, contract, open_format(name), path, samples)
    assert 0 <= off < 1e-4 * max(1, samples[1].logits.abs().max())
    return model, contract


def loaded(name, path):
    """The file and what is stored in it, as somebody without seqtrans gets them."""
    extra = {"metadata.json": ""}
    if name == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path)
        stored = session.get_modelmeta().custom_metadata_map
        about = {key: json.loads(value) for key, value in stored.items()}
        return lambda x: torch.from_numpy(session.run(None, {"images": x.numpy()})[0]), about
    if name == "torchscript":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            network = torch.jit.load(path, _extra_files=extra)
    else:
        network = torch.export.load(path, extra_files=extra).module()
    return network, json.loads(extra["metadata.json"])


QUICK = {"torchscript": {"perceptron", "cnn"}, "pt2": {"cnn"}, "onnx": {"cnn"}}
TRIED = [
    pytest.param(kind, name, marks=() if kind in QUICK[name] else pytest.mark.slow)
    for name in SUFFIXES
    for kind in SMALL
]


@pytest.mark.parametrize(("kind", "name"), TRIED)
def test_every_model_answers_as_before_in_batches_of_any_size(kind, name, tmp_path):
    path = tmp_path / f"model{SUFFIXES[name]}"
    model, contract = exported(kind, name, path)
    network, about = loaded(name, path)
    for batch in (1, 2, 7):
        _, pixels, expected = sampled(model, contract, batch)
        with torch.no_grad():
            found = network(pixels.float())
        assert found.dtype == torch.float32
        scale = float(expected.abs().max())
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * max(1, scale))
    assert about == contract.described()
    assert about["classes"][1] == "class 1, ä"
    assert (about["channels"], about["height"], about["width"]) == (3, *pixels.shape[2:])
    assert (about["mean"], about["std"]) == (list(MEAN), list(STD))
    assert list(tmp_path.iterdir()) == [path]


def test_a_perceptron_that_answers_by_a_step_is_exported_too(tmp_path):
    model = build_image_model(PerceptronConfig(), ImageShape(3, 6, 9), 5).eval()
    model.linear.weight.data.normal_()
    contract = made("perceptron")[1]
    samples = [sampled(model, contract, 3)]
    assert samples[0].logits.sum() == 3
    for name in ("torchscript", "pt2"):
        network = PixelClassifier(model, contract)
        assert write_checked(network, contract, open_format(name), tmp_path / name, samples) == 0


def damaged(network, damage):
    """What an exporter's mistake might make of a network."""
    with torch.no_grad():
        match damage:
            case "brightness":
                network.shift += 1e-2
            case "weight":
                network.model.linear.weight[2, 5] += 1e-2
            case "not a number":
                network.model.linear.bias[0] = float("nan")
            case "batch":
                network.forward = lambda images: network.model(images * network.scale)[:2]
    return network


@pytest.mark.parametrize("name", ["torchscript", "pt2"])
@pytest.mark.parametrize("damage", ["brightness", "weight", "not a number", "batch"])
def test_a_damaged_export_is_refused_and_the_old_file_stays(damage, name, tmp_path):
    model, contract = made("perceptron")
    samples = [sampled(model, contract, batch) for batch in (1, 3)]
    path = tmp_path / "model"
    path.write_bytes(b"good")
    network = damaged(PixelClassifier(model, contract), damage)
    with pytest.raises(ExportError, match="and was not kept") as told:
        write_checked(network, contract, open_format(name), path, samples)
    assert "\n" not in str(told.value)
    assert [file.name for file in tmp_path.iterdir()] == ["model"]
    assert path.read_bytes() == b"good"


def test_logits_as_close_as_allowed_but_of_another_class_are_refused(tmp_path):
    model, contract = made("perceptron")
    network = PixelClassifier(model, contract)
    sample = sampled(model, contract, 1)
    near = sample.logits.clone()
    first, second = near.topk(2).indices[0].tolist()
    near[0, second] = near[0, first] + 1e-5
    with torch.no_grad():  # the two are now as good as equal, in this order and in that
        network.model.linear.bias[second] += sample.logits[0, first] - sample.logits[0, second]
        network.model.linear.bias[second] -= 1e-5
    with pytest.raises(ExportError, match="1 of 1 classes"):
        write_checked(
            network, contract, TorchScript(), tmp_path / "x", [sample._replace(logits=near)]
        )


class Forgetful(TorchScript):
    """Stores something else than it was given."""

    def write(self, network, example, about, file):
        super().write(network, example, {**about, "classes": []}, file)


class Cut(TorchScript):
    """Loses the end of the file."""

    def write(self, network, example, about, file):
        super().write(network, example, about, file)
        file.truncate(file.tell() // 2)


@pytest.mark.parametrize("form", [Forgetful(), Cut()])
def test_the_file_itself_is_what_is_checked(form, tmp_path):
    model, contract = made("perceptron")
    network = PixelClassifier(model, contract)
    with pytest.raises(ExportError, match="kept"):
        write_checked(network, contract, form, tmp_path / "x", [sampled(model, contract, 1)])
    assert not list(tmp_path.iterdir())


class Winding(nn.Module):
    """Decides by its input what to compute, which no exporter can follow."""

    def forward(self, images):
        if images.sum() > 0:
            return images.flatten(1)[:, :5]
        return -images.flatten(1)[:, :5]


@pytest.mark.parametrize("name", ["torchscript", "pt2"])
def test_a_model_that_can_not_be_exported_is_told_in_one_line(name, tmp_path):
    _, contract = made("perceptron")
    network = PixelClassifier(Winding(), contract)
    samples = [sampled(network.model, contract, 1)]
    with pytest.raises(ExportError) as told:
        write_checked(network, contract, open_format(name), tmp_path / "x", samples)
    assert "\n" not in str(told.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("package", ["onnxruntime", "onnxscript"])
def test_without_onnx_the_extra_is_named(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ExportError, match=r"pip install 'seqtrans\[onnx\]'"):
        open_format("onnx")
