"""Whole runs that must learn: the toy recipes, with every family of models.

As in Sockeye's system tests, a threshold on the score of real decoding; what translates is the
stored run, loaded anew.
"""

import re
import shlex

import pytest

from seqtrans.cli import main
from seqtrans.recipe.load import load_recipe
from tests.support.pages import ROOT

LEAST = {"copy": 98, "reverse": 95, "sort": 97}  # BLEU
CONVOLUTIONAL = "{kind: convolutional, model_dim: 64, num_layers: 3, dropout: 0.1}"
SSRU = (
    "{kind: transformer, num_layers: 2, model_dim: 64, num_heads: 4, ffn_dim: 128, dropout: 0, "
    "autoregression: ssru}"
)
FED = "{kind: recurrent, hidden_dim: 64, input_feeding: true, attention: general}"


def path_of(task):
    return ROOT / "recipes" / "translation" / f"toy-{task}.yaml"


def lstm(task):
    """The settings for an LSTM: those that the recipe's header names."""
    lines = re.findall(r"^#   (--set .+)$", path_of(task).read_text(encoding="utf-8"), re.MULTILINE)
    settings = [shlex.split(line)[1] for line in lines]
    assert [setting.partition("=")[0] for setting in settings] == ["model.encoder", "model.decoder"]
    return settings


@pytest.mark.parametrize("task", LEAST)
def test_no_toy_recipe_expects_less_than_it_should(task):
    expected = load_recipe(path_of(task)).expected
    assert expected.metric == "bleu"
    assert expected.band[0] >= LEAST[task]


def reproduce(task, *settings):
    """Fails unless the score of a recipe, with other settings, lies in its band or above."""
    options = [word for setting in settings for word in ("--set", setting)]
    assert main(["reproduce", str(path_of(task)), *options]) == 0


@pytest.mark.parametrize(
    ("task", "model", "steps"),
    [
        ("copy", lstm("copy"), 120),
        ("sort", [*lstm("sort"), f"model.decoder={FED}"], 160),
        ("sort", lstm("sort")[1:], 160),
        ("sort", [f"model.{half}={CONVOLUTIONAL}" for half in ("encoder", "decoder")], 200),
        ("sort", [f"model.decoder={SSRU}"], 240),
    ],
    ids=["copy-lstm", "sort-lstm-input-feeding", "sort-mixed", "sort-convolutional", "sort-ssru"],
)
def test_short_lines_are_learned_in_few_steps(tmp_path, monkeypatch, task, model, steps):
    monkeypatch.chdir(tmp_path)
    reproduce(
        task,
        *model,
        *(f"data.{part}.0.max_tokens=5" for part in ("train", "validation", "test")),
        f"training.max_steps={steps}",
        f"training.validate_every_steps={steps}",
        "training.optimizer.learning_rate=8e-3",
        "training.schedule.warmup_steps=40",
        f"expected.score={LEAST[task]}",
        "expected.spread=2",
    )


@pytest.mark.long
def test_a_recipe_gives_what_it_expects(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    reproduce("reverse")
