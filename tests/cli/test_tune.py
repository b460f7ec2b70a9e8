"""Tuning tries what translate and evaluate would, and stores the best for translate."""

import io
import random
from contextlib import chdir, redirect_stderr, redirect_stdout

import pytest
import yaml

import seqtrans
from seqtrans.cli import main
from seqtrans.training.checkpoints.run_directory import RunDirectory, writing
from seqtrans.translation.evaluation.metrics import Measure, corpus_scores
from seqtrans.translation.recipe.load_run import load_run

WORDS = ["alder", "birch", "cedar", "dogwood", "elm", "fir", "gum", "hazel"]
RECIPE = """
data:
  train: [{source: train.src, target: train.tgt}]
  validation: [{source: dev.src, target: dev.tgt}, {source: long.src, target: long.tgt}]
  segmentation: {kind: words}
  batch_tokens: 200
model: {encoder: {kind: recurrent, hidden_dim: 24}, decoder: {kind: recurrent, hidden_dim: 24}}
training:
  max_steps: 60
  validate_every_steps: 20
  precision: fp32
  ema_decay: 0.9
  optimizer: {kind: adam, learning_rate: 2e-2}
  schedule: {kind: constant}
  checkpoints: {keep_best: 2, keep_last: 2, average_last: 2}
validation: {metrics: [], lowercase: true}
decoding: {beam_size: 2, max_source_tokens: 8, batch_tokens: 60}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder, draw = tmp_path_factory.mktemp("home"), random.Random(1)  # noqa: S311 - no secret

    def sentence():
        return " ".join(draw.choices(WORDS, k=draw.randint(3, 7)))

    texts = {
        "train": [sentence() for _ in range(150)],
        "dev": [sentence() for _ in range(12)],
        "long": [f"{sentence()} . {sentence()} ." for _ in range(4)],
    }
    for name, lines in texts.items():
        (folder / f"{name}.src").write_text("".join(f"{line}\n" for line in lines))
        (folder / f"{name}.tgt").write_text("".join(f"{line.upper()}\n" for line in lines))
    (folder / "toy.yaml").write_text(RECIPE)
    code, _, said = run(folder, "train", "toy.yaml", "--run", "run")
    assert code == 0, said
    return folder


def run(folder, *arguments):
    """Run a command within this process, which has paid for importing torch."""
    out, said = io.StringIO(), io.StringIO()
    with chdir(folder), redirect_stdout(out), redirect_stderr(said):
        code = main([str(argument) for argument in arguments])
    return code, out.getvalue(), said.getvalue()


TRY = (
    "--beam-size",
    "1",
    "--beam-size",
    "4",
    *(x for p in (0, 1.5) for x in ("--length-penalty", p)),
)


def files(path):
    return {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}


def rows(table):
    header, *lines = (line.split("\t") for line in table.splitlines())
    return [dict(zip(header, line, strict=True)) for line in lines]


def test_trials_have_the_scores_of_translate_and_the_best_is_what_translate_does_then(home):
    before = files(home / "run")
    code, table, said = run(home, "tune", "run", "--dry-run", *TRY)
    assert code == 0, said
    assert files(home / "run") == before
    trials = rows(table)
    tried = {row["checkpoint"] for row in trials}
    assert len(tried) > 1
    assert len(trials) == 3 * (len(tried) + 2)  # penalties of the recipe, 0 and 1.5
    for row in trials:
        assert scores(home, row) == (row["bleu"], row["chrf"])
    best = max(trials, key=lambda row: float(row["bleu"]))
    assert float(best["bleu"]) > float(trials[1]["bleu"]), "the recipe's settings are the best"

    assert run(home, "tune", "run", *TRY)[1] == table
    changed = {
        file.name for file, content in files(home / "run").items() if before[file] != content
    }
    assert changed <= {"recipe.yaml", "best"}
    expected = yaml.safe_load(before[home / "run/recipe.yaml"])
    expected["decoding"]["beam_size"] = int(best["beam_size"])
    expected["decoding"]["length_penalty"] = float(best["length_penalty"])
    assert yaml.safe_load((home / "run/recipe.yaml").read_text()) == expected
    loaded = load_run(home / "run")
    assert loaded.checkpoint.name == best["checkpoint"]
    text = (home / "dev.src").read_text().splitlines()
    assert seqtrans.load(home / "run").translate(text) == translated(home, best, text)
    again = rows(run(home, "tune", "run", *TRY)[1])
    assert max(float(row["bleu"]) for row in again) >= float(best["bleu"])


def translated(home, row, lines):
    settings = {"beam_size": int(row["beam_size"]), "length_penalty": float(row["length_penalty"])}
    return seqtrans.load(home / "run", row["checkpoint"], **settings).translate(lines)


def scores(home, row):
    """BLEU and chrF of the translations of the validation files, one after the other."""
    texts = {
        side: [(home / f"{name}.{side}").read_text().splitlines() for name in ("dev", "long")]
        for side in ("src", "tgt")
    }
    found = [line for lines in texts["src"] for line in translated(home, row, lines)]
    references = [line for lines in texts["tgt"] for line in lines]
    by_name = corpus_scores(found, references, Measure(metrics=("bleu", "chrf"), lowercase=True))
    return tuple(f"{by_name[name]:.2f}" for name in ("bleu", "chrf"))


def test_a_run_that_is_trained_is_left_alone(home):
    with writing(home / "run"):
        before = files(home / "run")
        code, table, said = run(home, "tune", "run")
        assert (code, table) == (2, "")
        assert "run is in use by process" in said
        assert run(home, "tune", "run", "--dry-run", "--checkpoint", "last", *TRY)[0] == 0
        assert files(home / "run") == before


def test_what_can_not_be_tuned_is_refused(home):
    recipe = RunDirectory(home / "run").recipe
    stored = recipe.read_text()
    for change, message in (
        ({"kind": "sampling"}, "tuning is for beam search, but decoding has kind: sampling"),
        ({"beam_size": 4, "n_best": 4, "mbr": "chrf"}, "but decoding has mbr"),
    ):
        recipe.write_text(yaml.safe_dump({**yaml.safe_load(stored), "decoding": change}))
        code, _, said = run(home, "tune", "run")
        assert (code, said.count("\n")) == (2, 1)
        assert message in said
    recipe.write_text(stored)
    assert not (home / "none").exists()
    assert run(home, "tune", "none")[0] == 2
    assert not (home / "none").exists()
