"""Whole runs of image classifiers: they tell shapes apart, and stop when they get no better."""

import json

import pytest

from seqtrans.cli import main
from seqtrans.training.checkpoints.run_directory import open_run
from tests.support.shape_images import CLASSES, write_shapes

RECIPE = """
task: classification
data:
  train: {kind: npz, path: train.npz, classes: [square, cross, circle]}
  validation: {kind: npz, path: dev.npz}
  test: {kind: npz, path: test.npz}
  augmentation: {flip: 0.5}
  batch_size: 32
model: {kind: mlp, widths: [32]}
training:
  max_steps: 60
  precision: fp32
  ema_decay: 0.9
  optimizer: {kind: adam, learning_rate: 1e-2}
  schedule: {kind: cosine, decay_steps: 60}
  validate_every_steps: 30
  log_every_steps: 30
  stopping: {metric: accuracy, patience: null}
"""
MODELS = {
    "mlp": "{kind: mlp, widths: [32], dropout: 0.1}",
    "lenet": "{kind: lenet, filters: [6, 12], widths: [24]}",
    "cnn": "{kind: cnn, blocks: [{filters: 8, pool: max}, {filters: 16, residual: true}]}",
    "resnet": "{kind: resnet, depth: 20, stem: cifar}",
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with the recipe and the files that it names."""
    monkeypatch.chdir(tmp_path)
    for seed, (name, count) in enumerate((("train", 900), ("dev", 100), ("test", 300))):
        write_shapes(tmp_path / f"{name}.npz", count, seed)
    (tmp_path / "shapes.yaml").write_text(RECIPE)
    return tmp_path


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("model", MODELS)
def test_a_run_learns_to_tell_shapes_apart(model, capsys):
    sets = ("--set", f"model={MODELS[model]}")
    assert main(["train", "shapes.yaml", "--run", "run", *sets]) == 0
    capsys.readouterr()
    assert main(["evaluate", "run", "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["images"] == 300
    assert report["accuracy"] > 0.95
    assert [row["name"] for row in report["classes"]] == list(CLASSES)
    assert min(row["recall"] for row in report["classes"]) > 0.9


def validated(run, metric="accuracy"):
    """A metric by step, of every validation that the log tells."""
    lines = map(json.loads, run.metrics.read_text().splitlines())
    return {line["step"]: line[f"valid/{metric}"] for line in lines if "valid/accuracy" in line}


def test_a_run_stops_when_accuracy_gets_no_better(here, capsys):
    settings = {
        "training.max_steps": "400",  # learnt after about 40
        "training.schedule": "{kind: constant}",
        "training.validate_every_steps": "5",
        "training.stopping.patience": "3",
    }
    sets = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    assert main(["train", "shapes.yaml", "--run", "run", *sets]) == 0
    assert "no gain within patience after step" in capsys.readouterr().err
    run = open_run(here / "run")
    found = validated(run)
    best = max(found, key=lambda step: (found[step], -step))
    assert found[best] > 0.95
    assert list(found) == list(range(5, best + 3 * 5 + 1, 5))
    losses = {step: validated(run, "loss")[step] for step in found if found[step] == found[best]}
    assert run.pointed("best").name == str(min(losses, key=losses.__getitem__))
    assert run.pointed("last").name == str(best + 15)
