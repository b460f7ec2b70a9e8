"""The table of an ablation compares means over seeds; a training that is there isn't repeated."""

import json
import sys

import pytest

from seqtrans.recipe.load import load_recipe
from tests.support.pages import ROOT
from tools.benchmarks import ablation

TRANSFORMER = [
    f"model.{half}={{kind: transformer, model_dim: 64, num_heads: 4, ffn_dim: 64}}"
    for half in ("encoder", "decoder")
]


@pytest.mark.parametrize("technique", ablation.TECHNIQUES)
def test_every_technique_is_one_of_a_recipe(technique):
    demo = ROOT / "recipes" / "translation" / "smart-home-en-de.yaml"
    changed = load_recipe(demo, [*TRANSFORMER, *ablation.TECHNIQUES[technique]])
    assert changed != load_recipe(demo, TRANSFORMER)


def result(name, bleu, seed, change=()):
    return {
        "name": name,
        "change": list(change),
        "seed": seed,
        "updates": 10,
        "bleu": bleu,
        "chrf": 50.0,
    }


def test_differences_are_those_of_means_over_seeds():
    plain = [result(ablation.AS_IT_IS, bleu, seed) for seed, bleu in enumerate((10.0, 12.0))]
    muon = [result("muon", bleu, seed, ["a=b"]) for seed, bleu in enumerate((11.0, 14.0))]
    lines = ablation.table([*plain, *muon]).splitlines()
    assert lines[2] == "| the recipe | 10 | 11.0 |  | 10.0 to 12.0 (2) | 50.0 |"
    assert lines[3] == "| muon: `a=b` | 10 | 12.5 | +1.5 | 11.0 to 14.0 (2) | 50.0 |"


def test_a_training_that_is_there_is_not_repeated(tmp_path, monkeypatch, capsys):
    trained = []

    def train(_recipe, run, settings, _cores):
        trained.append((run.name, settings))
        return {"updates": 10, "bleu": 20.0, "chrf": 50.0}

    monkeypatch.setattr(ablation, "train", train)
    monkeypatch.setattr(ablation.os, "sched_setaffinity", lambda *_: None)
    command = ["ablation.py", "x.yaml", "--work", str(tmp_path), "--minutes", "2", "--only"]
    for techniques in (["muon"], ["muon", "no_ema"]):
        monkeypatch.setattr(sys, "argv", [*command, *techniques])
        ablation.main()
    minutes, seed = "training.max_minutes=2", "training.seed=1"
    assert trained == [
        ("the-recipe-1", [minutes, seed]),
        ("muon-1", [minutes, "training.optimizer.kind=muon", seed]),
        ("no_ema-1", [minutes, "training.ema_decay=null", seed]),
    ]
    assert len(json.loads((tmp_path / "results.json").read_text())["results"]) == 3
    assert (
        "| no_ema: `training.ema_decay=null` | 10 | 20.0 | +0.0 |  | 50.0 |"
        in capsys.readouterr().out
    )
