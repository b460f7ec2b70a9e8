# ruff: noqa: E501 - messages are told in full
"""Going on with a run otherwise than it began: other settings, other data, another place."""

import shutil

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from seqtrans.training.checkpoints.format import read_state
from tests.support.command_line import RECIPE, seqtrans, write_corpus

SETTINGS = {
    "data.batch_tokens": "60",
    "training.max_steps": "6",
    "training.validate_every_steps": "2",
    "training.checkpoints": "{keep_best: 3, keep_last: 3}",
}


def train(folder, *arguments, recipe="toy.yaml", run="runs/toy", **settings):
    changes = [part for k, v in settings.items() for part in ("--set", f"{k}={v}")]
    return seqtrans(folder, "train", recipe, "--run", run, *arguments, *changes)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A project with its data and a run that stands in the middle of an epoch."""
    folder = tmp_path_factory.mktemp("original")
    write_corpus(folder, "abcdefgh")
    (folder / "toy.yaml").write_text(RECIPE)
    done = train(folder, **SETTINGS)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def project(original, tmp_path):
    """A copy of it under another path, whose stored recipe names the first one's files."""
    folder = tmp_path / "project"
    shutil.copytree(original, folder)
    return folder


@pytest.fixture
def place(original, project):
    """The copy, where the stored recipe names the copy's own files."""
    recipe = project / "runs/toy/recipe.yaml"
    recipe.write_text(recipe.read_text().replace(str(original), str(project)))
    return project


def stored(folder, run="runs/toy"):
    return yaml.safe_load((folder / run / "recipe.yaml").read_text())


def weights(folder, run="runs/toy"):
    checkpoints = folder / run / "checkpoints"
    return load_file(checkpoints / (checkpoints / "last").read_text().strip() / "model.safetensors")


def refused(done):
    assert (done.returncode, done.stdout) == (2, "")
    lines = [line for line in done.stderr.splitlines() if line.startswith("seqtrans: ")]
    assert len(lines) == 1
    return lines[0]


def test_settings_change_a_run_that_goes_on_and_are_kept_and_said(place):
    before = stored(place)
    done = train(
        place, "--resume", **{"training.max_steps": 8, "validation.metrics": "[chrf, bleu]"}
    )
    assert done.returncode == 0, done.stderr
    assert "max_steps reached after step 8" in done.stderr
    assert (
        "changed from here on: training.max_steps 8, was 6; validation.metrics.1 bleu, was absent"
        in (place / "runs/toy/log.txt").read_text()
    )
    before["training"]["max_steps"] = 8
    before["validation"]["metrics"] = ["chrf", "bleu"]
    assert stored(place) == before
    again = train(place, "--resume", **SETTINGS | {"training.max_steps": 8})
    assert again.returncode == 0
    assert "something else of validation.metrics.1: --set KEY=VALUE changes it" in again.stderr


def test_sizes_that_were_measured_before_the_first_step_are_kept_beside_settings(place):
    shutil.rmtree(place / "runs/toy/checkpoints")  # as of a run that was killed before it measured
    recipe = place / "runs/toy/recipe.yaml"
    recipe.write_text(recipe.read_text().replace("batch_tokens: 60", "batch_tokens: auto"))
    done = train(place, "--resume", **{"training.max_steps": 2})
    assert done.returncode == 0, done.stderr
    assert isinstance(stored(place)["data"]["batch_tokens"], int)
    assert stored(place)["training"]["max_steps"] == 2


def test_another_kind_has_its_own_defaults_and_not_the_keys_of_the_old_one(place):
    settings = {"training.schedule.kind": "inverse_square_root", "training.max_steps": 7}
    done = train(place, "--resume", **settings, **{"training.schedule.warmup_steps": 3})
    assert done.returncode == 0, done.stderr
    assert stored(place)["training"]["schedule"] == {
        "kind": "inverse_square_root",
        "warmup_steps": 3,
    }
    done = train(place, "--resume", **{"training.schedule.kind": "plateau"})
    assert done.returncode == 0, done.stderr
    assert stored(place)["training"]["schedule"]["kind"] == "plateau"
    done = train(place, "--resume", **{"training.schedule.kind": "platau"})
    assert "--set training.schedule: training.schedule.kind must be " in refused(done)


def test_a_file_that_is_set_and_missing_is_said_without_the_advice_to_set_it(place):
    done = train(place, "--resume", **{"data.train.0.source": "gone.src"})
    assert refused(done).endswith(f"there is no such file: {place / 'gone.src'}")


def test_the_weights_are_those_of_a_run_that_had_the_settings_from_the_start(place):
    straight = train(place, run="straight", **SETTINGS | {"training.max_steps": 9})
    assert straight.returncode == 0
    assert train(place, "--resume", **{"training.max_steps": 9}).returncode == 0
    found, expected = weights(place), weights(place, "straight")
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model.encoder.hidden_dim": 32}, "seqtrans: model.encoder.hidden_dim is 32, but the run was trained with 16: set it back, or begin another run with init_from: "),
        ({"model.encoder.cell": "gru"}, "model.encoder.cell is gru, but the run was trained with lstm: "),
        ({"data.segmentation.min_count": 2}, "data.segmentation.min_count is 2, but the run was trained with 1"),
        ({"data.train.0.source": "train.tgt", "data.train.0.target": "train.src"}, "train.tgt and "),
        ({"data.train": "[{source: train.src, target: train.tgt}, {source: dev.src, target: dev.tgt}]"}, "not what runs/toy learnt from until now"),
        ({"training.optimizer": "{kind: sgd}"}, "was trained with optimizer 'adam', not 'sgd'"),
    ],
)  # fmt: skip
def test_what_a_run_keeps_can_not_be_changed_and_nothing_is_stored(place, settings, message):
    before = (place / "runs/toy/recipe.yaml").read_text()
    done = train(place, "--resume", **settings)
    assert message in refused(done)
    assert (place / "runs/toy/recipe.yaml").read_text() == before


@pytest.mark.parametrize("name", ["train.src", "train.tgt"])
def test_other_training_data_are_noticed_and_named(place, name):
    with (place / name).open("a") as file:
        file.write("a b c\n")
    partner = place / ("train.tgt" if name == "train.src" else "train.src")
    partner.write_text(partner.read_text() + "")
    done = train(place, "--resume", **{"training.max_steps": 9})
    key = "source" if name == "train.src" else "target"
    assert (
        f"data.train.0.{key}: {place / name}: not what runs/toy learnt from until now: put that back, or begin another run with init_from: runs/toy"
        in refused(done)
    )


def test_data_that_were_touched_but_not_changed_are_the_same(place):
    text = (place / "train.src").read_text()
    (place / "train.src").unlink()
    (place / "train.src").write_text(text)
    assert train(place, "--resume", **{"training.max_steps": 7}).returncode == 0


def test_other_validation_data_are_gone_on_with_and_nothing_old_is_compared(place):
    (place / "dev.src").write_text("a b c\n")
    (place / "dev.tgt").write_text("c b a\n")
    done = train(place, "--resume", **{"training.max_steps": 8})
    assert done.returncode == 0, done.stderr
    assert (
        "data.validation.0.source, data.validation.0.target changed: results from before can't be compared"
        in done.stderr
    )
    checkpoints = place / "runs/toy/checkpoints"
    assert (checkpoints / "best").read_text() == "8\n"
    assert read_state(checkpoints / "8")["state"]["stopping"]["best_step"] == 8


def test_how_validation_decodes_counts_as_other_validation(place):
    done = train(place, "--resume", **{"training.max_steps": 7, "validation.decoding.beam_size": 2})
    assert "validation.decoding.beam_size changed: results from before" in done.stderr


@pytest.mark.parametrize("setting", [("data.batch_tokens", 50), ("training.seed", 5)])
def test_an_epoch_that_has_other_batches_begins_anew(place, setting):
    done = train(place, "--resume", **{"training.max_steps": 7, setting[0]: setting[1]})
    assert done.returncode == 0, done.stderr
    assert f"{setting[0]} changed: epoch 1 begins anew" in done.stderr
    assert read_state(place / "runs/toy/checkpoints/7")["state"]["updates_in_epoch"] == 1


def test_a_project_that_was_moved_with_its_data_goes_on(original, project):
    hidden = original.with_name("hidden")
    original.rename(hidden)
    try:
        done = train(project, "--resume", **{"training.max_steps": 9})
        named = train(project, "--resume", recipe="gone.yaml")
    finally:
        hidden.rename(original)
    assert done.returncode == 0, done.stderr
    assert named.returncode == 0, named.stderr
    assert stored(project)["data"]["train"][0]["source"] == str(project / "train.src")
    assert train(original, "--resume", run=original / "runs/toy").returncode == 0
    assert train(original, run="straight", **SETTINGS | {"training.max_steps": 9}).returncode == 0
    found, expected = weights(project), weights(original, "straight")
    shutil.rmtree(original / "straight")
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_run_whose_data_are_gone_says_which_and_takes_another_place(place):
    for name in ("train.src", "train.tgt", "dev.src", "dev.tgt"):
        (place / name).rename(place / f"moved.{name}")
    done = train(place, "--resume")
    assert done.returncode == 2
    assert (
        f"data.train.0.source: there is no such file: {place / 'train.src'}; if it was moved, add --set data.train.0.source=PATH"
        in done.stderr
    )
    assert done.stderr.count("seqtrans: ") == 4
    moved = {
        "data.train.0.source": "moved.train.src",
        "data.train.0.target": "moved.train.tgt",
        "data.validation.0.source": "moved.dev.src",
        "data.validation.0.target": "moved.dev.tgt",
    }
    done = train(place, "--resume", **moved, **{"training.max_steps": 7})
    assert done.returncode == 0, done.stderr
    assert stored(place)["data"]["train"][0]["source"] == str(place / "moved.train.src")
    assert "can't be compared" not in done.stderr


def test_data_that_a_recipe_can_not_name_are_refused_before_training(original, tmp_path):
    place = tmp_path / "data\udcff"
    shutil.copytree(original, place, ignore=shutil.ignore_patterns("runs"))
    done = train(place, **SETTINGS)
    assert done.returncode == 2
    assert f"{tmp_path}/data\\udcff/train.src: the name is not UTF-8, as a recipe" in done.stderr
    assert not (place / "runs").exists()


def test_what_is_not_a_run_says_where_one_is(place):
    def said(*arguments):
        done = seqtrans(place, *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        return done.stderr

    assert (
        said("show", "runs/toy/recipe.yaml")
        == "seqtrans: runs/toy/recipe.yaml is a file, not a run directory; did you mean runs/toy?\n"
    )
    assert (
        said("show", "runs/toy/checkpoints/6")
        == "seqtrans: runs/toy/checkpoints/6 is not a run directory: it holds no recipe.yaml; did you mean runs/toy?\n"
    )
    assert said("show", "runs/top") == "seqtrans: there is no run directory runs/top\n"
    (place / "other").mkdir()
    (place / "other/note").touch()
    assert (
        said("train", "toy.yaml", "--run", "other")
        == "seqtrans: other holds other things than a run; choose another --run\n"
    )


def test_a_run_goes_on_by_its_own_recipe_and_without_a_folder_for_checkpoints(place):
    done = seqtrans(
        place, "train", "runs/toy/recipe.yaml", "--resume", "--set", "training.max_steps=7"
    )
    assert done.returncode == 0, done.stderr
    assert "going on as" not in done.stderr
    shutil.rmtree(place / "runs/toy/checkpoints")
    done = train(place, "--resume")
    assert done.returncode == 0, done.stderr
    assert "nothing was saved yet: starting anew" in done.stderr


IMAGES = """
task: classification
data:
  train: {kind: npz, path: train.npz}
  validation: {kind: fraction, fraction: 0.25}
  batch_size: 8
model: {kind: mlp, widths: [8]}
training:
  max_steps: 7
  precision: fp32
  schedule: {kind: constant}
  stopping: {metric: accuracy}
"""


def write_images(folder, first):
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (40, 6, 6), dtype=np.uint8)
    images[0] = first
    np.savez(folder / "train.npz", images=images, labels=np.arange(40) % 4)


def test_other_images_are_noticed_and_a_moved_file_is_not(tmp_path):
    write_images(tmp_path, 3)
    (tmp_path / "digits.yaml").write_text(IMAGES)
    done = seqtrans(tmp_path, "train", "digits.yaml")
    assert done.returncode == 0, done.stderr
    for key, value, message in (
        ("data.validation.fraction", 0.5, ": data.validation.fraction is 0.5, but the run was trained with 0.25: set it back"),
        ("data.limit", 8, ": data.limit is 8, but the run was trained with null: set it back"),
        ("model.activation", "tanh", ": model.activation is tanh, but the run was trained with "),
    ):  # fmt: skip
        done = seqtrans(tmp_path, "train", "digits.yaml", "--resume", "--set", f"{key}={value}")
        assert message in refused(done)
    (tmp_path / "train.npz").rename(tmp_path / "moved.npz")
    done = seqtrans(tmp_path, "train", "digits.yaml", "--resume")
    assert "data.train.path: there is no such file" in refused(done)
    moved = ("--set", "data.train.path=moved.npz", "--set", "training.max_steps=9")
    done = seqtrans(tmp_path, "train", "digits.yaml", "--resume", *moved)
    assert done.returncode == 0, done.stderr
    write_images(tmp_path, 4)
    (tmp_path / "train.npz").rename(tmp_path / "moved.npz")
    done = seqtrans(tmp_path, "train", "digits.yaml", "--resume")
    assert f"data.train: {tmp_path / 'moved.npz'}: not what runs/digits learnt from" in refused(
        done
    )


def test_epochs_of_both_directions_go_on_as_if_never_stopped_and_need_one_vocabulary(original):
    both = {**SETTINGS, "data.both_directions_epochs": 1, "data.segmentation.joint": "true"}
    both["training.validate_every_steps"] = 50
    done = train(original, run="runs/straight", **both | {"training.max_steps": 24})
    assert done.returncode == 0, done.stderr
    for steps, epoch in ((9, 0), (20, 1), (24, 2)):
        resume = ["--resume"] if steps > 9 else []
        done = train(original, *resume, run="runs/both", **both | {"training.max_steps": steps})
        assert done.returncode == 0, done.stderr
        state = read_state(original / f"runs/both/checkpoints/{steps}")["state"]
        assert state["epoch"] == epoch
        assert state["updates_in_epoch"] > 0
    found, expected = (weights(original, f"runs/{name}") for name in ("both", "straight"))
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    separate = both | {"data.segmentation.joint": "false"}
    message = refused(train(original, run="runs/none", **separate))
    assert message.endswith(
        "data.both_directions_epochs needs one vocabulary for both languages: set "
        "data.segmentation.joint to true, or leave it out"
    )
