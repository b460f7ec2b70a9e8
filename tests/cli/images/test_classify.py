# ruff: noqa: E501 - messages are told in full
"""``seqtrans classify``: runs, weights of others, names of timm."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from seqtrans.images.classifier import open_classifier
from seqtrans.images.data.inference_transform import InputSpec, read_prepared
from seqtrans.images.models.efficientnet_lite import EfficientNetLite, EfficientNetLiteConfig
from seqtrans.images.models.image_shape import ImageShape
from seqtrans.images.pretrained.load import imagenet_classes
from tests.support.command_line import seqtrans

RECIPE = """
task: classification
data:
  train: {kind: folder, path: pictures, height: 8, width: 8, crop: 0.5}
  validation: {kind: folder, path: pictures, height: 8, width: 8, crop: 0.5}
model: {kind: MODEL}
training:
  max_steps: 30
  precision: fp32
  optimizer: {kind: adam, learning_rate: 3e-2}
  schedule: {kind: constant}
  stopping: {metric: accuracy}
  validate_every_steps: 30
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Pictures with a red or a blue middle in noise, and two runs that tell them apart."""
    folder = tmp_path_factory.mktemp("home")
    draw = np.random.default_rng(0)
    for channel, name in ((0, "red"), (2, "blue")):
        (folder / "pictures" / name).mkdir(parents=True)
        for number in range(4):
            pixels = draw.integers(0, 256, (20, 24, 3), dtype=np.uint8)
            pixels[5:15, 7:17] = 0
            pixels[5:15, 7:17, channel] = 200
            Image.fromarray(pixels).save(folder / "pictures" / name / f"{number}.png")
    for kind in ("mlp", "perceptron"):
        (folder / f"{kind}.yaml").write_text(RECIPE.replace("MODEL", kind))
        done = seqtrans(folder, "train", f"{kind}.yaml", "--run", kind)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("run", ["mlp", "perceptron"])
def test_a_run_classifies_images_as_it_learnt_them(home, run):
    paths = [f"pictures/{name}/3.png" for name in ("red", "blue")]
    done = seqtrans(home, "classify", run, *paths, "--format", "jsonl")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["image"] for line in lines] == paths
    for line, name in zip(lines, ("red", "blue"), strict=True):
        first, second = line["classes"]
        assert first["class"] == name
        assert 0.9 < first["probability"] <= 1  # of two steps it would be 0.73
        assert first["probability"] + second["probability"] == pytest.approx(1)


def test_a_table_shows_the_likeliest(home):
    done = seqtrans(home, "classify", "mlp", "pictures/red/0.png", "--top", "1")
    first, second = done.stdout.splitlines()
    assert first == "pictures/red/0.png"
    assert second.endswith("%  red")


def test_weights_of_others_see_images_as_published(home, tmp_path):
    torch.manual_seed(0)
    model = EfficientNetLite(EfficientNetLiteConfig(), ImageShape(3, 224, 224), 1000).eval()
    torch.nn.init.normal_(model.classifier.weight)
    picture = home / "pictures/red/0.png"
    half = (0.5, 0.5, 0.5)
    image = read_prepared(picture, InputSpec(224, 0.875, "bicubic", half, half))
    with torch.no_grad():
        values, numbers = model(image[None])[0].softmax(0).topk(5)
    save_file(model.state_dict(), tmp_path / "lite.safetensors")
    torch.save(model.state_dict(), tmp_path / "lite.pth")
    for name in ("lite.safetensors", "lite.pth"):
        done = seqtrans(tmp_path, "classify", name, picture, "--format", "jsonl")
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)["classes"]
        assert [c["class"] for c in found] == [imagenet_classes()[i] for i in numbers.tolist()]
        assert [c["probability"] for c in found] == pytest.approx(values.tolist(), rel=1e-3)


class Mean(torch.nn.Module):
    """Two logits: brightness of an image, as it is normalized, and 0."""

    def __init__(self, size):
        super().__init__()
        self.size = size
        self.pretrained_cfg = {"num_classes": 2, "input_size": (3, size, size), "crop_pct": 1.0, "interpolation": "bilinear", "mean": half(0.0), "std": half(0.25)}  # fmt: skip

    def forward(self, images):
        assert images.shape[1:] == (3, self.size, self.size)
        mean = images.mean((1, 2, 3))
        return torch.stack((mean, torch.zeros_like(mean)), dim=1)


def half(value):
    return (value,) * 3


def test_a_name_of_timm_is_seen_as_timm_says(tmp_path, monkeypatch):
    stand_in = SimpleNamespace(
        is_model=lambda name: name == "mean",
        is_model_pretrained=lambda name: name == "mean",
        list_models=lambda: ["mean"],
        create_model=lambda name, pretrained: Mean(12) if pretrained else name,
    )
    monkeypatch.setitem(sys.modules, "timm", stand_in)
    Image.fromarray(np.full((30, 30, 3), 51, np.uint8)).save(tmp_path / "a.png")
    done = seqtrans(tmp_path, "classify", "mean", "a.png", "--format", "jsonl")
    found = json.loads(done.stdout)["classes"]
    assert found[0]["class"] == "class 0"
    assert found[0]["probability"] == pytest.approx(1 / (1 + np.exp(-0.8)))
    done = seqtrans(tmp_path, "classify", "meen", "a.png")
    assert done.stderr == "seqtrans: timm has no 'meen'; did you mean 'mean'?\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mlp", "none.png"], "none.png: can't be read: No such file or directory"),
        (["mlp", "mlp.yaml"], "mlp.yaml: not a readable image: its content is not PNG, JPEG, WebP, BMP, GIF, TIFF, PPM or PGM"),
        (["pictures", "pictures/red/0.png", "--checkpoint", "last"], "pictures is not a run, so it has no checkpoint 'last'"),
        (["none.pth", "pictures/red/0.png"], "none.pth: no such run, file or folder"),
        (["runs/none", "pictures/red/0.png"], "runs/none: no such run, file or folder"),
        (["mlp", "pictures/red/0.png", "--checkpoint", "7"], "mlp has no checkpoint '7'"),
        (["mlp.yaml", "pictures/red/0.png"], "mlp.yaml is not .safetensors, "),
    ],
)  # fmt: skip
def test_what_can_not_be_classified_is_one_line(home, arguments, message):
    done = seqtrans(home, "classify", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"seqtrans: {message}")
    assert done.stderr.count("\n") == 1


def test_a_path_is_text_or_a_path_and_nothing_else(home):
    found = open_classifier(home / "mlp")
    path = home / "pictures" / "red" / "3.png"
    assert torch.equal(found.probabilities(str(path)), found.probabilities(path))
    for wrong in (
        None,
        b"3.png",
        3,
        [path],
        Image.new("RGB", (8, 8)),
        np.zeros((8, 8, 3), np.uint8),
    ):
        named = f"takes the path of one image file, not {type(wrong).__name__}"
        with pytest.raises(TypeError, match=named):
            found.probabilities(wrong)
