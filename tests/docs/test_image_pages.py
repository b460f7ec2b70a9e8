"""What the pages show of fine-tuning and of Keras: run as it stands, on files like those."""

import importlib.util

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from seqtrans.cli import main
from seqtrans.images.models.image_shape import ImageShape
from seqtrans.images.models.resnet import ResNet, ResNetConfig
from seqtrans.images.recipe.build import load_classifier
from tests.support.pages import ROOT, block

DIGITS = ROOT / "recipes" / "images" / "keras-digits.yaml"
FINE_TUNING = ROOT / "docs" / "tutorials" / "fine-tuning.md"
KERAS = ROOT / "docs" / "how-to" / "use-a-keras-model.md"


def train(recipe, run, **settings):
    sets = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    return main(["train", str(recipe), "--run", str(run), *sets])


def test_fine_tuning_as_shown(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(8):
            pixels = draw.integers(256, size=(50, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.jpg")
    origin = ResNet(ResNetConfig(depth=18), ImageShape(3, 224, 224), 1000).state_dict()
    torch.save(origin, "resnet18.pth")
    (tmp_path / "my.yaml").write_text(block(FINE_TUNING, "task: classification"))
    small = {"data.train.height": 40, "data.train.width": 40, "data.batch_size": 4}
    small |= {"data.limit": 8, "training.checkpoints": "{keep_last: 2}"}
    assert train("my.yaml", "run", **small, **{"training.max_epochs": 2}) == 0
    said = capsys.readouterr().err
    assert "learning from 8 of these" in said
    assert "new for these classes: fc.weight, fc.bias" in said
    first, second = (load_file(f"run/checkpoints/{step}/model.safetensors") for step in (2, 4))
    for name in ("conv1.weight", "bn1.weight", "bn1.running_mean"):
        assert first[name].equal(second[name])
        assert first[name].equal(origin[name]), name
    for name in ("layer1.0.conv1.weight", "layer4.1.bn2.running_mean"):
        assert first[name].equal(origin[name]), name
        assert not second[name].equal(origin[name]), name
    assert second["fc.weight"].shape == (2, 512)


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # of NumPy, for Keras
def test_a_keras_model_as_shown(tmp_path, monkeypatch, capsys):
    """From its weights back into Keras, and from a file of Keras into another run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(block(KERAS, "import keras"))
    shown = block(KERAS, "model: {kind: keras")
    text = DIGITS.read_text().replace("../../data", str(DIGITS.parents[2] / "data"))
    plain = "\n".join(line for line in text.splitlines() if not line.startswith("model:"))
    (tmp_path / "my.yaml").write_text(f"{plain}\n{shown}")
    steps = {"training.max_steps": 2, "training.validate_every_steps": 2}
    assert train("my.yaml", "first", init_from="null", **steps) == 0
    folder = tmp_path / "first" / "checkpoints" / "2"
    assert {"conv2d/kernel", "dense/bias"} < load_file(folder / "model.safetensors").keys()
    ours = load_classifier(tmp_path / "first", "2").model
    spec = importlib.util.spec_from_file_location("mine", tmp_path / "mine.py")
    mine = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mine)
    theirs = mine.build((8, 8, 1), 10, filters=16)
    theirs.load_weights(folder / "model.weights.h5")
    images = torch.randn(3, 1, 8, 8)
    with torch.no_grad():
        assert ours(images).equal(theirs(images.permute(0, 2, 3, 1)))
    theirs.save_weights("earlier.weights.h5")
    assert train("my.yaml", "second", **steps) == 0
    assert "starting from the weights of " in capsys.readouterr().err
