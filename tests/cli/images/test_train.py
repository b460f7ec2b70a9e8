# ruff: noqa: E501 - messages are told in full
"""Image classifiers from the command line: train, go on, show, evaluate."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from seqtrans.images.recipe.build import load_classifier
from tests.support.command_line import in_a_process, seqtrans
from tests.support.image_recipe import DIGITS, RECIPE


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a recipe, and a run trained by it."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "digits.yaml").write_text(RECIPE)
    done = in_a_process(folder, "train", "digits.yaml")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    (folder / "said").write_text(done.stderr)
    return folder


def test_a_run_says_what_it_found_and_how_to_go_on(home):
    said = (home / "said").read_text()
    assert "training: 1,437 images of 10 classes, 8 x 8 pixels, 1 channel" in said
    assert "validation: 144 of these" in said
    assert "largest batch: 32 images in " in said
    assert re.search(r"step 60  validation: loss 0\.\d+, accuracy 0\.[89]", said)
    assert "perplexity" not in said
    assert said.endswith("evaluate with: seqtrans evaluate runs/digits\n")


def test_show_tells_classes_and_accuracy(home):
    lines = seqtrans(home, "show", "runs/digits").stdout.splitlines()
    assert lines[1].startswith("classes      10: zero, one, two, ")
    assert lines[2:4] == ["images       8 x 8 pixels, 1 channel", "model        cnn"]
    assert sum("accuracy 0." in line for line in lines) == len(lines) - 5
    recipe = seqtrans(home, "show", "runs/digits", "--recipe").stdout
    assert recipe == (home / "runs/digits/recipe.yaml").read_text()


def test_evaluation_counts_what_the_model_says(home):
    """Against a count of our own, from the files alone."""
    done = seqtrans(home, "evaluate", "runs/digits", "--format", "json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    raw = {name: (DIGITS / f"test-{name}-ubyte").read_bytes() for name in ("images-idx3", "labels-idx1")}  # fmt: skip
    pixels = np.frombuffer(raw["images-idx3"], np.uint8, offset=16).reshape(-1, 1, 8, 8) / 255
    labels = np.frombuffer(raw["labels-idx1"], np.uint8, offset=8)
    found = load_classifier(home / "runs/digits")
    mean, std = (getattr(found.facts.normalisation, n)[0] for n in ("mean", "std"))
    with torch.no_grad():
        called = found.model(torch.tensor((pixels - mean) / std).float()).argmax(1).numpy()
    assert report["accuracy"] == (called == labels).mean() > 0.9
    assert report["images"] == len(labels) == 360
    for k, row in enumerate(report["classes"]):
        assert row["images"] == (labels == k).sum()
        assert row["recall"] == (called[labels == k] == k).mean()
        assert row["precision"] == (labels[called == k] == k).mean()
        assert report["confusion"][k] == [int(((labels == k) & (called == j)).sum()) for j in range(10)]  # fmt: skip
    sure = [m["probability"] for m in report["mistakes"]]
    assert len(sure) == (called != labels).sum()
    assert sure == sorted(sure, reverse=True)
    assert {m["number"] for m in report["mistakes"]} == set(np.flatnonzero(called != labels))


def test_evaluation_is_a_table_and_stays_in_the_run(home):
    done = seqtrans(home, "evaluate", "runs/digits")
    run = home / "runs" / "digits"
    kept = json.loads((run / "confusion.json").read_text())
    assert done.stdout.startswith(f"accuracy {kept['accuracy']:.2%}: ")
    assert done.stdout.splitlines()[3].split()[:2] == ["zero", "36"]
    for name in ("confusion.png", "mistakes.png"):
        with Image.open(run / name) as image:
            assert image.format == "PNG"
    last = seqtrans(home, "evaluate", "runs/digits", "--checkpoint", "last", "--format", "json")
    assert json.loads(last.stdout)["checkpoint"] == "60"


def test_a_moved_run_needs_no_training_data(home, tmp_path):
    shutil.copytree(home / "runs/digits", tmp_path / "moved")
    recipe = tmp_path / "moved" / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("train-", "gone-"))
    assert seqtrans(tmp_path, "evaluate", "moved").returncode == 0
    assert seqtrans(tmp_path, "show", "moved").returncode == 0


def test_averaging_works_on_classifiers(home, tmp_path):
    shutil.copytree(home / "runs/digits", tmp_path / "run")
    done = seqtrans(tmp_path, "average", "run")
    assert done.returncode == 0, done.stderr
    done = seqtrans(tmp_path, "evaluate", "run", "--checkpoint", "averaged")
    assert done.returncode == 0, done.stderr


def test_resuming_equals_never_stopping_bit_for_bit(home):
    ended = "training.checkpoints={keep_last: 9, keep_best: 9, every_steps: 13}"
    for name, steps in (("straight", 60), ("parts", 26)):
        done = seqtrans(home, "train", "digits.yaml", "--run", name, "--set", ended, "--set", f"training.max_steps={steps}")  # fmt: skip
        assert done.returncode == 0, done.stderr
    recipe = home / "parts" / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("max_steps: 26", "max_steps: 60"))
    shutil.rmtree(home / "parts/checkpoints/26")  # as if killed within the second epoch
    done = seqtrans(home, "train", "digits.yaml", "--run", "parts", "--resume")
    assert done.returncode == 0, done.stderr
    for stem in ("model", "ema", "optimizer"):
        found, expected = (load_file(home / n / "checkpoints/60" / f"{stem}.safetensors") for n in ("parts", "straight"))  # fmt: skip
        assert found.keys() == expected.keys()
        assert all(found[name].equal(tensor) for name, tensor in expected.items())


def test_a_new_head_on_the_weights_of_another_run(home, tmp_path):
    """Five of the classes; the blocks are frozen and so must be those of the first run."""
    labels = np.frombuffer((DIGITS / "train-labels-idx1-ubyte").read_bytes(), np.uint8, offset=8)
    pixels = np.frombuffer((DIGITS / "train-images-idx3-ubyte").read_bytes(), np.uint8, offset=16)
    chosen = labels < 5
    np.savez(tmp_path / "five.npz", images=pixels.reshape(-1, 8, 8)[chosen], labels=labels[chosen])
    settings = {
        "data.train": "{kind: npz, path: five.npz}",
        "data.test": "null",
        "init_from": str(home / "runs/digits"),
        "training.freeze": "['blocks.*']",
        "training.max_steps": "5",
        "training.ema_decay": "null",
    }
    (tmp_path / "five.yaml").write_text(RECIPE)
    sets = [word for k, v in settings.items() for word in ("--set", f"{k}={v}")]
    done = seqtrans(tmp_path, "train", "five.yaml", "--run", "run", *sets)
    assert done.returncode == 0, done.stderr
    assert "new for these classes: layers.output.weight, layers.output.bias" in done.stderr
    assert done.stderr.endswith("classify with: seqtrans classify run IMAGE...\n")
    found = load_file(tmp_path / "run/checkpoints/5/model.safetensors")
    origin = load_classifier(home / "runs/digits").model.state_dict()
    frozen = [name for name in found if name.startswith("blocks.") and "running" not in name]
    assert frozen
    assert all(found[name].equal(origin[name]) for name in frozen if "tracked" not in name)
    assert found["layers.output.weight"].shape == (5, 32)
    done = seqtrans(tmp_path, "evaluate", "run")
    assert (done.returncode, done.stdout) == (2, "")
    assert "data.test is null" in done.stderr


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("data.validation.fraction=1.0", "data.validation.fraction must be a number of more than 0 and less than 1, not 1.0"),
        ("data.validation.fraction=0.0001", "a fraction of 0.0001 sets 0 of 1437 images aside"),
        ("data.train.images=none.idx", "data.train.images: there is no such file: "),
        ("data.train.classes=[a, b]", "label 3 is 2, but classes go from 0 to 1"),
        ("data.train={kind: npz, path: one.npz, classes: [only]}", "the training images have only one class, only; at least two are needed"),
        ("data.augmentation={pad_crop: 8}", "data.augmentation.pad_crop must be 7 or less for images of 8 x 8 pixels"),
        ("data.augmentation={cutout: 9}", "data.augmentation.cutout must be 8 or less for images of 8 x 8 pixels"),
        ("model={kind: mlp, widths: [16], activation: Relu}", "not 'Relu'; did you mean 'relu'?"),
        ("model={kind: lenet}", "lenet with padding 2 needs images of at least 12 x 12 pixels, not 8 x 8"),
        ("model={kind: vgg}", "model: vgg needs images of 32x32 pixels or more, not 8x8"),
        ("model={kind: lenett}", "did you mean 'lenet'?"),
        ("data.normalisation={mean: [0.1, 0.1], std: [1, 1]}", "data.normalisation has 2 channels, but the images have 1"),
        ("training.stopping.metric=bleu", "'bleu' is not measured: validation gives loss, accuracy"),
        ("task=classify", "task must be 'translation' or 'classification', not 'classify'; did you mean 'classification'?"),
        ("init_from=.", "has no model.safetensors or pytorch_model.bin"),
    ],
)  # fmt: skip
def test_what_can_not_be_trained_is_one_line(home, setting, message):
    np.savez(home / "one.npz", images=np.zeros((9, 8, 8), np.uint8), labels=np.zeros(9, np.int64))
    done = seqtrans(home, "train", "digits.yaml", "--run", "doomed", "--set", setting)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("seqtrans: ")
    assert message in last
    assert not (home / "doomed").exists()


def test_a_perceptron_has_no_loss_to_stop_by(home):
    sets = ("--set", "model={kind: perceptron}", "--set", "training.stopping.metric=loss")
    done = seqtrans(home, "train", "digits.yaml", "--run", "doomed", *sets)
    assert "'loss' is not measured: validation gives accuracy\n" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["translate", "runs/digits", "-o", "out"], "runs/digits is a run of task 'classification', not 'translation'"),
        (["evaluate", "runs/digits", "--checkpoint", "7"], "runs/digits has no checkpoint '7'; it has best, last, "),
        (["evaluate", "runs"], "runs is not a run directory: it holds no recipe.yaml"),
    ],
)  # fmt: skip
def test_what_can_not_be_done_is_one_line(home, arguments, message):
    done = seqtrans(home, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"seqtrans: {message}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [["runs/digits", "runs/digits"], ["runs/digits", "-m", "bleu"], ["digits.yaml"], ["digits.yaml", "-r", "digits.yaml", "--checkpoint", "best"]],
)  # fmt: skip
def test_options_for_translations_and_for_runs_do_not_mix(home, arguments):
    done = seqtrans(home, "evaluate", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("seqtrans: ")
    assert done.stderr.count("\n") == 1


def test_a_run_that_is_not_there_is_named(home):
    done = seqtrans(home, "evaluate", "runs/digit")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no runs/digit" in done.stderr


def test_facts_that_were_altered_are_told(home, tmp_path):
    shutil.copytree(home / "runs/digits", tmp_path / "run")
    file = tmp_path / "run/vocabulary/images.yaml"
    file.write_text(file.read_text().replace("shape", "shap"))
    done = seqtrans(tmp_path, "evaluate", "run")
    assert done.returncode == 2
    assert "the recipe has no key 'shap'" in done.stderr
