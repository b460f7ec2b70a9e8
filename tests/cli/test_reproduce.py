"""``seqtrans reproduce``: the score is that of translate and evaluate, and the band decides."""

import json
import re
from dataclasses import replace

import pytest

from seqtrans.translation.data.formats.generated import GeneratedPairs
from tests.support.command_line import RECIPE, seqtrans
from tests.support.pages import ROOT

TEST = GeneratedPairs(task="copy", num_pairs=30, seed=3, max_tokens=4, num_symbols=3)


@pytest.fixture
def folder(tmp_path):
    corpora = [replace(TEST, num_pairs=n, seed=seed) for n, seed in ((200, 1), (20, 2), (30, 3))]
    train, dev, test = (
        "{" + ", ".join(f"{k}: {v}" for k, v in vars(corpus).items()) + "}" for corpus in corpora
    )
    text = RECIPE.replace("{source: train.src, target: train.tgt}", train)
    text = text.replace("{source: dev.src, target: dev.tgt}", dev).replace(
        "  segmentation", f"  test: [{test}]\n  segmentation"
    )
    (tmp_path / "toy.yaml").write_text(text)
    return tmp_path


def reproduce(folder, score, spread, *more):
    expected = (
        f"expected={{metric: chrf, score: {score}, spread: {spread}, minutes: 3, machine: a toy}}"
    )
    return seqtrans(folder, "reproduce", "toy.yaml", "--set", expected, *more)


def test_the_score_is_that_of_translate_and_evaluate_on_the_test_text(folder):
    done = reproduce(folder, 50, 100)
    assert done.returncode == 0, done.stderr
    said, time = done.stdout.splitlines()
    (folder / "test.src").write_text("".join(f"{s}\n" for s, _ in TEST.pairs()))
    (folder / "test.tgt").write_text("".join(f"{t}\n" for _, t in TEST.pairs()))
    assert seqtrans(folder, "translate", "runs/toy", "test.src", "-o", "out").returncode == 0
    measure = ["evaluate", "--reference", "test.tgt", "--metric", "chrf", "--format", "json"]
    (score,) = json.loads(seqtrans(folder, *measure, "out").stdout)
    assert said == f"chrf {score['value']:.4g} is within the band of toy.yaml: -50 to 150"
    assert re.fullmatch(r"training took [\d.]+ minutes; the recipe says 3 on a toy", time)
    below = reproduce(folder, 150, 1, "--resume")
    assert (below.returncode, below.stdout) == (2, "")
    line = f"seqtrans: chrf {score['value']:.4g} is below the band of toy.yaml: 149 to 151"
    assert below.stderr.splitlines()[-1] == line
    above = reproduce(folder, -9, 1, "--resume")
    assert above.returncode == 0
    assert "is above the band of toy.yaml: -10 to -8" in above.stdout


def test_several_processes_are_scored_too(folder):
    more = ["--set", "expected.devices=2", "--set", "training.accumulate=2"]
    done = reproduce(folder, 50, 100, *more)
    assert done.returncode == 0, done.stderr
    assert "is within the band" in done.stdout


def test_without_expectation_nothing_is_trained(folder):
    done = seqtrans(folder, "reproduce", "toy.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "seqtrans: toy.yaml: has no key expected, so there is nothing to compare with\n"
    )
    assert not (folder / "runs").exists()


def test_a_classifier_is_scored_by_its_test_images(tmp_path):
    recipe = ROOT / "recipes/images/digits-perceptron.yaml"
    few = ["--set", "training.max_steps=20", "--set", "training.validate_every_steps=20"]
    band = ["--set", "expected.score=0.5", "--set", "expected.spread=0.5"]
    done = seqtrans(tmp_path, "reproduce", recipe, *few, *band)
    assert done.returncode == 0, done.stderr
    evaluated = seqtrans(tmp_path, "evaluate", "runs/digits-perceptron", "--format", "json")
    accuracy = json.loads(evaluated.stdout)["accuracy"]
    assert done.stdout.startswith(f"accuracy {accuracy:.4g} is within the band of {recipe}: 0 to 1")
