"""The image recipes train, for two steps here, on files like those that they name."""

import re
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seqtrans.cli import main
from seqtrans.images.classifier import open_classifier
from seqtrans.images.models.efficientnet_lite import EfficientNetLite, EfficientNetLiteConfig
from seqtrans.images.models.image_shape import ImageShape
from seqtrans.images.models.keras import KerasConfig, build_keras_model
from seqtrans.training.checkpoints.run_directory import open_run

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted((ROOT / "recipes" / "images").glob("*.yaml"))


def idx(path, values):
    header = struct.pack(f">4B{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    path.write_bytes(header + values.tobytes())
    return path


def stand_ins(folder, kind):
    """Settings that name generated files, where the data does not ship with the project."""
    draw = np.random.default_rng(0)
    labels = (np.arange(60) % 10).astype(np.uint8)
    if kind == "mnist":
        pixels = draw.integers(0, 256, (60, 28, 28), dtype=np.uint8)
        files = {"images": idx(folder / "i", pixels), "labels": idx(folder / "l", labels)}
        return [f"data.{part}.{k}={v}" for part in ("train", "test") for k, v in files.items()]
    if kind == "cifar10":
        rows = draw.integers(0, 256, (60, 3073), dtype=np.uint8)
        rows[:, 0] = labels
        (folder / "batch.bin").write_bytes(rows.tobytes())
        return [f"data.{part}.files=[{folder / 'batch.bin'}]" for part in ("train", "test")]
    if kind == "finetune-lite0":
        return [*stand_ins(folder, "cifar10"), f"init_from={weights_of_lite0(folder)}"]
    if kind == "finetune-resnet50":
        config = KerasConfig(build="keras_resnet50:build")
        model = build_keras_model(config, ImageShape(3, 32, 32), 1000, RECIPES[0].parent)
        model.keras_model.save_weights(folder / "resnet50.weights.h5")
        return [*stand_ins(folder, "cifar10"), f"init_from={folder / 'resnet50.weights.h5'}"]
    return []


def weights_of_lite0(folder):
    """Those of 1,000 classes, as they are published, but untrained."""
    model = EfficientNetLite(EfficientNetLiteConfig(), ImageShape(3, 224, 224), 1000)
    torch.save(model.state_dict(), folder / "lite0.pth")
    return folder / "lite0.pth"


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # of NumPy, for Keras
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_trains_for_two_steps(recipe, tmp_path):
    settings = ["training.max_steps=2", "training.validate_every_steps=2", "data.batch_size=8"]
    settings += ["training.schedule.warmup_steps=1", "data.validation.fraction=0.2"]
    settings += stand_ins(
        tmp_path, recipe.stem if "finetune" in recipe.stem else recipe.stem.partition("-")[0]
    )
    sets = [word for setting in settings for word in ("--set", setting)]
    run = str(tmp_path / "run")
    assert main(["train", str(recipe), "--run", run, *sets]) == 0
    assert open_run(tmp_path / "run").steps() == [2]
    assert main(["evaluate", run]) == 0
    if "resize:" in recipe.read_text():  # an image file is seen as those of the training were
        Image.new("RGB", (50, 40)).save(tmp_path / "one.png")
        assert open_classifier(run).read(tmp_path / "one.png").shape == (3, 96, 96)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_says_how_to_run_it_and_what_it_reaches(recipe):
    header = recipe.read_text(encoding="utf-8").partition("\ntask:")[0]
    for command in ("train recipes/images/", "evaluate runs/"):
        assert f"seqtrans {command}{recipe.stem}" in header
    assert "Test accuracy" in header or "Not yet measured" in header


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_the_tutorial_says_the_same(recipe):
    tutorial = (ROOT / "docs" / "tutorials" / "first-classifier.md").read_text(encoding="utf-8")
    (row,) = re.findall(rf"^\| `{recipe.stem}` \|(.*)\|$", tutorial, re.MULTILINE)
    header = recipe.read_text(encoding="utf-8").partition("\ntask:")[0]
    found = re.findall(r"\b\d\d\.\d\b", row)
    assert all(share in header for share in found)
    assert bool(found) == ("Test accuracy" in header)
