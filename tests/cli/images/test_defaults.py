"""What a user meets who says little in a recipe of images: what is read, seen, learnt and said."""

import json
import re
import shutil

import numpy as np
import pytest
import yaml
from PIL import Image

from seqtrans.recipe.load import load_recipe
from tests.support.command_line import seqtrans

RECIPE = """
task: classification
data: {train: {kind: folder, path: SET/train}, validation: {kind: folder, path: SET/val}}
model: {kind: mlp, widths: [8]}
training: {max_epochs: 30}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Black bars, across or upright, on nothing; the same on white; and a run of each."""
    folder = tmp_path_factory.mktemp("home")
    draw = np.random.default_rng(0)
    for split, count in (("train", 20), ("val", 8)):
        for name in ("across", "upright"):
            for number in range(count):
                alpha = np.zeros((12, 12), dtype=np.uint8)
                at = draw.integers(1, 9)
                alpha[at : at + 2] = 255
                alpha = alpha if name == "across" else alpha.T
                black = Image.fromarray(np.dstack([np.zeros((12, 12, 3), np.uint8), alpha]))
                flat = Image.fromarray(np.repeat(255 - alpha[..., None], 3, axis=2))
                for kind, image in (("clear", black), ("flat", flat)):
                    path = folder / f"{kind}-set" / split / name / f"{number:02}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    image.save(path)
    for kind in ("clear", "flat"):
        (folder / f"{kind}.yaml").write_text(RECIPE.replace("SET", f"{kind}-set"))
        done = seqtrans(folder, "train", f"{kind}.yaml", "--run", kind)
        assert done.returncode == 0, done.stderr
        (folder / f"{kind}.said").write_text(done.stderr)
    return folder


def measured(folder, run):
    found = [json.loads(line) for line in (folder / run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k.startswith("valid/")} for line in found]


def classes_of(folder, run, *images):
    done = seqtrans(folder, "classify", run, *images, "--format", "jsonl")
    assert done.returncode == 0, done.stderr
    return [json.loads(line)["classes"] for line in done.stdout.splitlines()]


def test_the_shortest_recipe_learns(home):
    stored = load_recipe(home / "clear" / "recipe.yaml").training
    assert (stored.stopping.metric, stored.schedule.kind) == ("accuracy", "constant")
    assert max(line.get("valid/accuracy", 0) for line in measured(home, "clear")) > 0.8
    assert "schedule" not in (home / "clear.said").read_text()


def test_a_part_of_a_mapping_keeps_the_other_defaults(home):
    (home / "part.yaml").write_text(RECIPE.replace("SET", "flat-set"))
    recipe = load_recipe(home / "part.yaml", ["training.stopping.patience=3"])
    assert (recipe.training.stopping.metric, recipe.training.stopping.patience) == ("accuracy", 3)


def test_what_is_transparent_is_learnt_as_if_it_were_on_white(home):
    assert measured(home, "clear") == measured(home, "flat")
    images = [f"{kind}-set/val/upright/01.png" for kind in ("clear", "flat")]
    first, second = classes_of(home, "clear", *images)
    assert first == second
    assert first[0]["class"] == "upright"


def test_another_background_is_kept_by_the_run(home, tmp_path):
    shutil.copytree(home / "clear", tmp_path / "run")
    facts = tmp_path / "run" / "vocabulary" / "images.yaml"
    stored = yaml.safe_load(facts.read_text())
    assert stored["background"] == [255, 255, 255]
    facts.write_text(yaml.safe_dump({**stored, "background": [0, 0, 0]}))
    Image.new("RGB", (12, 12)).save(tmp_path / "black.png")
    paths = home / "clear-set/val/upright/01.png", tmp_path / "black.png"
    seen, black = classes_of(home, tmp_path / "run", *paths)
    assert seen == black  # black on black


def test_a_run_from_before_sees_what_it_saw(home, tmp_path):
    shutil.copytree(home / "flat", tmp_path / "run")
    facts = tmp_path / "run" / "vocabulary" / "images.yaml"
    stored = yaml.safe_load(facts.read_text())
    del stored["background"]
    facts.write_text(yaml.safe_dump(stored))
    Image.new("RGB", (12, 12)).save(tmp_path / "black.png")
    paths = home / "clear-set/val/upright/01.png", tmp_path / "black.png"
    seen, black = classes_of(home, tmp_path / "run", *paths)
    assert seen == black
    settings = ("--set", "data.background=navy", "--set", "training.max_epochs=9")
    done = seqtrans(home, "train", "flat.yaml", "--run", tmp_path / "run", "--resume", *settings)
    assert done.returncode == 2
    assert "background is navy, but this run began with none" in done.stderr


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("whit", "data: background 'whit' is not a color"),
        ("[1, 2, 256]", "data: background [1, 2, 256] is not a color"),
        ("[1, 2]", "data: background [1, 2] is not a color"),
        ("5", "data.background must be text or a list, not 5"),
    ],
)
def test_a_background_that_is_no_color_is_one_line(home, value, said):
    done = seqtrans(home, "train", "clear.yaml", "--set", f"data.background={value}")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert said in done.stderr


def test_images_of_one_color_are_said(home):
    setting = ["--set", "data.background=black", "--set", "training.max_epochs=1"]
    done = seqtrans(home, "train", "clear.yaml", "--run", "black", *setting)
    assert "training: all 40 images are identical" in done.stderr
    assert "validation: all 16 images are identical" in done.stderr


def test_a_run_that_goes_on_keeps_its_background(home, tmp_path):
    shutil.copytree(home / "flat", tmp_path / "run")
    recipe = tmp_path / "run" / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("background: white", "background: navy"))
    done = seqtrans(home, "train", "flat.yaml", "--run", tmp_path / "run", "--resume")
    assert done.returncode == 2
    assert "background is navy, but this run began with [255, 255, 255]" in done.stderr


def test_all_commands_name_what_they_leave_out(home, tmp_path):
    shutil.copytree(home / "flat-set", tmp_path / "flat-set")
    (tmp_path / "flat-set/val/across/x.heic").write_text("")
    text = RECIPE.replace("SET", "flat-set")
    text = text.replace("/val}}", "/val}, test: {kind: folder, path: flat-set/val}}")
    (tmp_path / "a.yaml").write_text(text.replace("30", "1"))
    left_out = r"skipped, as only PNG, .*across: 1 \.heic \(x\.heic\)"
    done = seqtrans(tmp_path, "train", "a.yaml", "--run", "run")
    assert re.search(f"validation: {left_out}", done.stderr)
    assert re.search(f"test: {left_out}", seqtrans(tmp_path, "evaluate", "run").stderr)
    done = seqtrans(tmp_path, "classify", "run", "flat-set/val", "--format", "jsonl")
    assert len(done.stdout.splitlines()) == 16
    assert "flat-set/val: skipped, as only PNG" in done.stderr
    (tmp_path / "empty").mkdir()
    done = seqtrans(tmp_path, "classify", "run", "empty")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


def test_classes_without_images_and_schedules_that_do_nothing_are_said(tmp_path):
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (30, 6, 6), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=images, labels=np.arange(30) % 3 + 1)
    (tmp_path / "a.yaml").write_text(
        "task: classification\n"
        "data: {train: {kind: npz, path: a.npz}, validation: {kind: npz, path: a.npz}}\n"
        "model: {kind: perceptron, output: step}\n"
        "training: {max_epochs: 2, schedule: {kind: linear, warmup_steps: 99, decay_steps: 300}}\n"
    )
    done = seqtrans(tmp_path, "train", "a.yaml", "--run", "run")
    assert done.returncode == 0, done.stderr
    assert "training: no images of class 0; labels start at 0\n" in done.stderr
    assert "training.schedule: warmup_steps 99 is all of this training" in done.stderr


def trained_on(folder, shape, **keys):
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.savez(folder / "a.npz", images=images, labels=np.arange(shape[0]) % 2)
    data = {"kind": "npz", "path": "a.npz", **keys}
    recipe = {
        "task": "classification",
        "data": {"train": data, "validation": data},
        "model": {"kind": "perceptron"},
        "training": {"max_epochs": 1},
    }
    (folder / "a.yaml").write_text(yaml.safe_dump(recipe))
    return seqtrans(folder, "train", "a.yaml", "--run", "run")


def test_rows_are_not_taken_for_channels(tmp_path):
    done = trained_on(tmp_path, (10, 3, 8, 8))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.endswith("means 8 channels: set channels: first\n")
    assert trained_on(tmp_path, (10, 3, 8, 8), channels="first").returncode == 0


def test_a_run_of_four_channels_classifies_no_files(tmp_path):
    assert trained_on(tmp_path, (10, 8, 8, 4)).returncode == 0
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    done = seqtrans(tmp_path, "classify", "run", "a.png")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "takes images of 4 channels" in done.stderr
