# ruff: noqa: E501 - messages are told in full
"""Keras models from the command line: trained, gone on with, moved, fine-tuned, taken to Keras."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from seqtrans.errors import CheckpointError
from seqtrans.images.models.image_shape import ImageShape
from seqtrans.images.models.keras import KerasConfig, build_keras_model
from seqtrans.images.recipe.build import load_classifier
from seqtrans.training.checkpoints.format import read_inference_weights, read_training
from tests.support.command_line import seqtrans

DIGITS = Path(__file__).parents[3] / "data" / "digits"
RECIPE = f"""
task: classification
data:
  train:
    kind: idx
    images: {DIGITS}/train-images-idx3-ubyte
    labels: {DIGITS}/train-labels-idx1-ubyte
  validation: {{kind: fraction, fraction: 0.1}}
  test:
    kind: idx
    images: {DIGITS}/test-images-idx3-ubyte
    labels: {DIGITS}/test-labels-idx1-ubyte
  augmentation: {{mixup: 0.1}}
  batch_size: 32
model: {{kind: keras, build: "mine:small", arguments: {{dropout: 0.1}}}}
training:
  max_steps: 60
  precision: fp32
  ema_decay: 0.9
  optimizer: {{kind: adam, learning_rate: 1e-2}}
  schedule: {{kind: constant}}
  validate_every_steps: 30
  checkpoints: {{keep_last: 9, keep_best: 9, average_best: 2}}
  stopping: {{metric: accuracy}}
"""
CODE = """
import keras
from keras import layers


def small(shape, num_classes, dropout):
    drop = layers.SpatialDropout2D(dropout, seed=1), layers.Dropout(dropout), layers.GaussianNoise(dropout)
    ends = layers.Flatten(), layers.Dense(num_classes, name="head")
    return keras.Sequential([layers.Input(shape), layers.Conv2D(8, 3), layers.BatchNormalization(momentum=0.9), layers.ReLU(), *drop, *ends])


"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a recipe and the module that it names, and a run trained by them."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "digits.yaml").write_text(RECIPE)
    (folder / "mine.py").write_text(CODE)
    done = seqtrans(folder, "train", "digits.yaml")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    return folder


def test_it_learns(home):
    done = seqtrans(home, "evaluate", "runs/digits", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["accuracy"] > 0.9
    shown = seqtrans(home, "show", "runs/digits").stdout.splitlines()
    assert shown[3:5] == ["model        keras", "parameters   2,986"]


@pytest.mark.parametrize("checkpoint", ["30", "60", "averaged"])
def test_both_formats_say_the_same(home, checkpoint):
    """The one by load_weights of a plain Keras model, the other as this program reads it."""
    folder = home / "runs/digits/checkpoints" / checkpoint
    ours = load_classifier(home / "runs/digits", checkpoint).model
    build = KerasConfig(build="mine:small", arguments={"dropout": 0.0})
    keras_model = build_keras_model(build, ImageShape(1, 8, 8), 10, home).keras_model
    keras_model.load_weights(folder / "model.weights.h5")
    images = torch.randn(5, 1, 8, 8)
    with torch.no_grad():
        expected = keras_model(images.permute(0, 2, 3, 1))
        assert ours(images).equal(expected)
    for variable in keras_model.weights:
        name = variable.path.removeprefix(f"{keras_model.name}/")
        assert read_inference_weights(folder)[name].equal(variable.value.detach()), name
    assert "model.weights.h5" in (folder / "state.yaml").read_text()


@pytest.mark.parametrize("name", ["onnx", "torchscript", "pt2"])
def test_it_can_be_exported(home, name):
    """The file is checked by images of the test set before it is kept."""
    done = seqtrans(home, "export", "runs/digits", "--format", name)
    assert done.returncode == 0, done.stderr
    assert " on 68 images; logits differ by " in done.stderr


def test_it_can_be_shipped_without_what_training_needs(home):
    done = seqtrans(home, "export", "runs/digits", "--format", "run", "-o", "shipped")
    assert done.returncode == 0, done.stderr
    (folder,) = (path.parent for path in home.glob("shipped/checkpoints/*/state.yaml"))
    kept = {path.name for path in folder.iterdir()}
    assert kept == {"model.safetensors", "model.weights.h5", "state.yaml"}
    assert (home / "shipped/mine.py").read_text() == CODE
    for command in (["evaluate", "--format", "json"], ["export", "--format", "pt2"]):
        whole, shipped = (
            seqtrans(home, command[0], run, *command[1:]) for run in ("runs/digits", "shipped")
        )
        assert shipped.returncode == 0, shipped.stderr
        assert shipped.stdout == whole.stdout
    start = ("--run", "started", "--set", "init_from=shipped", "--set", "training.max_steps=1")
    done = seqtrans(home, "train", "digits.yaml", *start)
    assert done.returncode == 0, done.stderr
    done = seqtrans(home, "train", "digits.yaml", "--run", "shipped", "--resume")
    assert done.returncode == 2
    assert "optimizer.safetensors is missing: training can't go on" in done.stderr


def test_resuming_equals_never_stopping_bit_for_bit(home):
    """Also with a builder changed since: a run goes on with what it began with."""
    for name, steps in (("straight", 40), ("parts", 13)):
        sets = ("--set", f"training.max_steps={steps}", "--set", "training.validate_every_steps=13")
        done = seqtrans(home, "train", "digits.yaml", "--run", name, *sets)
        assert done.returncode == 0, done.stderr
    recipe = home / "parts" / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("max_steps: 13", "max_steps: 40"))
    (home / "mine.py").write_text(CODE.replace("Conv2D(8", "Conv2D(9"))
    try:
        done = seqtrans(home, "train", "digits.yaml", "--run", "parts", "--resume")
    finally:
        (home / "mine.py").write_text(CODE)
    assert done.returncode == 0, done.stderr
    for stem in ("model", "ema", "optimizer"):
        found, expected = (load_file(home / n / "checkpoints/40" / f"{stem}.safetensors") for n in ("parts", "straight"))  # fmt: skip
        assert found.keys() == expected.keys()
        assert all(found[name].equal(tensor) for name, tensor in expected.items())


def test_a_moved_run_needs_its_own_files_only(home, tmp_path):
    shutil.copytree(home / "runs/digits", tmp_path / "moved")
    assert seqtrans(tmp_path, "evaluate", "moved").returncode == 0
    (tmp_path / "moved" / "mine.py").unlink()
    done = seqtrans(tmp_path, "evaluate", "moved")
    assert (done.returncode, done.stdout) == (2, "")
    said = "model.build: there is no moved/mine.py and no module 'mine' on Python's path"
    assert done.stderr == f"seqtrans: {said}\n"


def test_a_damaged_file_is_noticed(home, tmp_path):
    shutil.copytree(home / "runs/digits", tmp_path / "run")
    with (tmp_path / "run/checkpoints/60/model.weights.h5").open("ab") as file:
        file.write(b"?")
    with pytest.raises(CheckpointError, match=r"model\.weights\.h5 has "):  # as --resume does
        read_training(tmp_path / "run/checkpoints/60")
    done = seqtrans(tmp_path, "evaluate", "run", "--checkpoint", "60")
    assert done.returncode == 0  # which reads model.safetensors


@pytest.mark.parametrize("origin", ["runs/digits", "runs/digits/checkpoints/60/model.weights.h5", "runs/digits/checkpoints/averaged/model.safetensors"])  # fmt: skip
def test_a_new_head_on_weights_of_others(home, tmp_path, origin):
    """Five of the classes; what is frozen must be that of the file."""
    labels = np.frombuffer((DIGITS / "train-labels-idx1-ubyte").read_bytes(), np.uint8, offset=8)
    pixels = np.frombuffer((DIGITS / "train-images-idx3-ubyte").read_bytes(), np.uint8, offset=16)
    chosen = labels < 5
    np.savez(tmp_path / "five.npz", images=pixels.reshape(-1, 8, 8)[chosen], labels=labels[chosen])
    settings = {
        "data.train": "{kind: npz, path: five.npz}",
        "data.test": "null",
        "init_from": str(home / origin),
        "training.freeze": "['conv2d/*']",
        "training.max_steps": "2",
        "training.ema_decay": "null",
        "training.checkpoints": "{keep_best: 1}",
    }
    for name, text in (("five.yaml", RECIPE), ("mine.py", CODE)):
        (tmp_path / name).write_text(text)
    sets = [word for k, v in settings.items() for word in ("--set", f"{k}={v}")]
    done = seqtrans(tmp_path, "train", "five.yaml", "--run", "run", *sets)
    assert done.returncode == 0, done.stderr
    assert "new for these classes: head/kernel, head/bias\n" in done.stderr
    found = load_file(tmp_path / "run/checkpoints/2/model.safetensors")
    step = "averaged" if "averaged" in origin else "60" if "60" in origin else "best"
    expected = load_classifier(home / "runs/digits", step).model.state_dict()
    assert found["conv2d/kernel"].equal(expected["conv2d/kernel"])
    assert not found["batch_normalization/gamma"].equal(expected["batch_normalization/gamma"])
    assert found["head/kernel"].shape[1] == 5


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model.build=other:small", "model.build: there is no doomed/other.py and no module 'other' on Python's path"),
        ("model.build=small", "--set model.build: model: build must be module:function, not 'small'"),
        ("model.arguments=3", "model.arguments must be a mapping, not 3"),
        ("model.arguments={}", "model.build: mine:small failed: TypeError: small() missing 1 required positional argument: 'dropout'"),
        ("training.processes.sharding=full", "training.processes.sharding full can't shard a keras model, whose layers keep references to its weights: use none"),
        ("init_from=mine.py", "mine.py is not .safetensors, .pth, .pt, .bin or a folder with one"),
        ("init_from=none.h5", "init_from: there is no such file: "),
    ],
)  # fmt: skip
def test_what_can_not_be_trained_is_one_line(home, setting, message):
    done = seqtrans(home, "train", "digits.yaml", "--run", "doomed", "--set", setting)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("seqtrans: ")
    assert message in last
    assert not (home / "doomed").exists()
