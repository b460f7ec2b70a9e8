"""Training measures what ``translate``, ``evaluate`` and ``score`` find on the same files."""

import gzip
import io
import json
import math
import os
import random
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from subprocess import PIPE

import pytest
import torch
import yaml

import seqtrans
from seqtrans.cli import main
from seqtrans.runtime.files.text_files import open_lines
from seqtrans.translation.data.batch import collate_pairs
from seqtrans.translation.recipe.load_run import load_run

WORDS = ["alder", "birch", "cedar", "dogwood", "elm", "fir", "gum", "hazel"]
METRICS = ("bleu", "chrf", "ter")

WORDS_RECIPE = """
data:
  train: [{source: train.src, target: train.tgt}]
  validation:
  - {source: long.src.gz, target: long.tgt}
  - {tsv: blank.tsv, source_column: 2, target_column: 1}
  segmentation: {kind: words, min_count: 2}
  batch_tokens: 200
model: {encoder: {kind: recurrent, hidden_dim: 16}, decoder: {kind: recurrent, hidden_dim: 16}}
training:
  max_steps: 40
  validate_every_steps: 20
  precision: fp32
  ema_decay: 0.9
  optimizer: {kind: adam, learning_rate: 2e-2}
  schedule: {kind: constant}
  checkpoints: {keep_best: 2, average_best: 2}
validation:
  metrics: [bleu, chrf, ter]
  decoding: {beam_size: 3, n_best: 2, max_source_tokens: 5, batch_tokens: 40, max_length: 9}
decoding: {beam_size: 2}
"""
CHARACTERS_RECIPE = """
data:
  train: [{source: train.src, target: train.tgt}]
  validation: [{source: blank.src, target: blank.tgt}, {source: long.src, target: long.tgt}]
  segmentation: {kind: characters, joint: true}
  filter: {max_tokens: 30}
  batch_tokens: 600
model:
  encoder: {kind: transformer, positions: learned, max_positions: 31, SIZES}
  decoder: {kind: transformer, positions: learned, max_positions: 31, SIZES}
training:
  max_steps: 5
  validate_every_steps: 5
  precision: fp32
  optimizer: {kind: adam, learning_rate: 1e-2}
  schedule: {kind: constant}
validation:
  metrics: [bleu, chrf, ter]
  decoding: {max_source_tokens: 30, max_length_factor: 1.2, batch_tokens: 90}
""".replace("SIZES", "num_layers: 1, model_dim: 16, num_heads: 2, ffn_dim: 16")
PIECES = "{kind: sentencepiece, model_type: bpe, vocab_size: 60, byte_fallback: false, SAMPLING}"
SAMPLED = PIECES.replace("SAMPLING", "sampling: {kind: bpe_dropout, probability: 0.2}")
PIECES_RECIPE = (
    WORDS_RECIPE.replace("{kind: words, min_count: 2}", SAMPLED)
    .replace("max_steps: 40", "max_steps: 6")
    .replace("every_steps: 20", "every_steps: 3")
)
RECIPES = {"words": WORDS_RECIPE, "characters": CHARACTERS_RECIPE, "pieces": PIECES_RECIPE}
LONG_FIRST = [("long.src.gz", "long.tgt"), ("blank.src", "blank.tgt")]
FILES = {
    "words": LONG_FIRST,
    "pieces": LONG_FIRST,
    "characters": [("blank.src", "blank.tgt"), ("long.src", "long.tgt")],
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Text whose target repeats the source in capitals, and the worst of it to judge by."""
    folder, draw = tmp_path_factory.mktemp("home"), random.Random(1)  # noqa: S311 - no secret

    def sentence():
        return " ".join(draw.choices(WORDS, k=draw.randint(1, 4))) + " ."

    def write(name, sources, targets):
        for ending, lines in (("src", sources), ("tgt", targets)):
            (folder / f"{name}.{ending}").write_text("".join(f"{line}\n" for line in lines))

    train = [sentence() for _ in range(200)]
    long = [" ".join(sentence() for _ in range(draw.randint(1, 6))) for _ in range(9)]
    blank = ["elm .", "", "fir .", "  ", "elm .", "\u3000", "gum elm .", "x\u2028y z"]
    write("train", train, map(str.upper, train))
    write("dev", train[:20], map(str.upper, train[:20]))
    write("long", long, map(str.upper, long))
    write("blank", blank, ["ELM .", "GUM .", "", " ", "Elm.", "", "GUM\rELM .", "X Y Z"])
    with gzip.open(folder / "long.src.gz", "wb") as file:
        file.write((folder / "long.src").read_bytes())
    sides = [
        (folder / f"blank.{side}").read_bytes().decode().split("\n") for side in ("tgt", "src")
    ]
    rows = [f"{target}\t{source}\n" for target, source in zip(*sides, strict=True)]
    (folder / "blank.tsv").write_bytes("".join(rows[:-1]).encode())
    for name, recipe in RECIPES.items():
        (folder / f"{name}.yaml").write_text(recipe)
    return folder


def run(folder, *arguments):
    """Run a command within this process, which has paid for importing torch."""
    out, said = io.StringIO(), io.StringIO()
    with chdir(folder), redirect_stdout(out), redirect_stderr(said):
        code = main([str(argument) for argument in arguments])
    assert code == 0, said.getvalue()
    return out.getvalue(), said.getvalue()


def trained(home, name, *options):
    """A run of a recipe, by one process."""
    run(home, "train", f"{name}.yaml", "--run", f"{name}-run", *options)
    return home / f"{name}-run"


@pytest.fixture(scope="module")
def words(home):
    return trained(home, "words")


def states(path):
    """What the files of each checkpoint say of it."""
    return {
        file.parent.name: yaml.safe_load(file.read_text())
        for file in (path / "checkpoints").glob("*/state.yaml")
    }


def logged(path):
    """What was logged of each validation, by step."""
    lines = map(json.loads, (path / "metrics.jsonl").read_text().splitlines())
    return {
        str(line["step"]): {k[6:]: v for k, v in line.items() if k.startswith("valid/")}
        for line in lines
        if "valid/loss" in line
    }


def outputs(home, path, files, checkpoint):
    """What translate makes of each file with the settings of the validation."""
    for number, (source, _) in enumerate(files):
        options = ("--settings", "validation", "--checkpoint", checkpoint)
        run(home, "translate", path, source, *options, "-o", f"out.{number}")
    return "".join((home / f"out.{number}").read_text() for number in range(len(files)))


def evaluated(home, path, files, checkpoint):
    """The scores that translate and evaluate give."""
    (home / "out").write_bytes(outputs(home, path, files, checkpoint).encode())
    (home / "ref").write_bytes(b"".join((home / target).read_bytes() for _, target in files))
    chosen = [part for metric in METRICS for part in ("-m", metric)]
    found, _ = run(home, "evaluate", "-r", "ref", *chosen, "out", "--format", "json")
    return {score["metric"]: score["value"] for score in json.loads(found)}


@torch.inference_mode()
def loss_of(path, pairs, checkpoint):
    """Per target token, EOS counted, of pairs that are scored one by one, whole."""
    loaded = load_run(path, checkpoint)
    segmenters, log_probs = loaded.segmenters, []
    for pair in pairs:
        ids = tuple(side.encode([line])[0] for side, line in zip(segmenters, pair, strict=True))
        batch = collate_pairs([ids], *(side.specials for side in segmenters))
        logits = loaded.model.logits(batch.source, batch.target_input)
        found = logits.log_softmax(-1).gather(2, batch.target_output[:, :, None])
        log_probs += found.flatten().tolist()
    return -sum(log_probs) / len(log_probs)


def check(home, path, files):
    """The law, for every checkpoint that was measured."""
    found, in_log = states(path), logged(path)
    pairs = [
        pair
        for names in files
        for pair in zip(*(open_lines(home / name) for name in names), strict=True)
    ]
    for name, state in found.items():
        measured = state["metrics"]
        assert {k: measured[k] for k in METRICS} == evaluated(home, path, files, name), name
        assert measured["loss"] == pytest.approx(loss_of(path, pairs, name), rel=1e-5)
        assert measured["perplexity"] == pytest.approx(math.exp(measured["loss"]))
        assert name == "averaged" or in_log[name] == measured
    assert in_log.keys() >= found.keys() - {"averaged"}
    return found


def test_every_checkpoint_scores_as_its_translations_do(home, words):
    """Of long, blank and equal lines in several files, with a beam, and the mean of weights."""
    found = check(home, words, FILES["words"])
    assert found.keys() == {"20", "40", "averaged"}
    assert len({state["metrics"]["chrf"] for state in found.values()}) > 1, "nothing was learnt"
    assert found["40"]["metrics"]["chrf"] > 20
    shown, _ = run(home, "show", words)
    for name, state in found.items():
        scores = ", ".join(f"{k} {v:.4g}" for k, v in state["metrics"].items())
        assert f"{name}  {scores}" in shown


def test_positions_may_end_before_a_line_does(home):
    path = trained(home, "characters")
    check(home, path, FILES["characters"])
    assert "more than max_source_tokens (30)" in (path / "log.txt").read_text()


@pytest.mark.processes
def test_two_processes_score_as_one_translates(home):
    command = [sys.executable, "-m", "seqtrans", "train", "pieces.yaml", "--run", "pieces-run"]
    accumulate = ("--devices", "2", "--set", "training.accumulate=2")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, *accumulate], cwd=home, env=environment, check=True, stderr=PIPE, text=True
    )
    assert done.stderr.count("more than max_source_tokens (5)") == 1
    check(home, home / "pieces-run", FILES["pieces"])


def test_a_run_that_starts_from_another_scores_as_it_translates(home, words):
    recipe = yaml.safe_load(WORDS_RECIPE)
    recipe["init_from"] = {"run": str(words), "checkpoint": "averaged"}
    recipe["training"] |= {"max_steps": 2, "checkpoints": {}}
    recipe["data"]["validation"] = [{"source": "dev.src", "target": "dev.tgt"}]
    (home / "tuned.yaml").write_text(yaml.safe_dump(recipe))
    path = trained(home, "tuned")
    (state,) = check(home, path, [("dev.src", "dev.tgt")]).values()
    _, said = run(home, "score", path, "dev.src", "dev.tgt", "-o", "scores")
    assert f"perplexity {state['metrics']['perplexity']:.3f}" in said


def test_bulk_jobs_and_python_search_as_validation_too(home, words):
    files = FILES["words"]
    expected = outputs(home, words, files, "best")
    sources = [source for source, _ in files]
    assert outputs(home, words, files, "last") != ""
    run(home, "translate", words, *sources, "--settings", "validation", "-o", "bulk")
    in_bulk = [(home / "bulk" / name).read_text() for name in ("long.src", "blank.src")]
    assert "".join(in_bulk) == expected
    translator = seqtrans.load(words, settings="validation")
    assert translator.config.n_best == 2
    assert seqtrans.load(words, settings="validation", n_best=1).config.beam_size == 3
    lines = [
        line
        for _, t in files
        for line in (home / t.replace("tgt", "src")).read_text("utf-8").split("\n")[:-1]
    ]
    assert "".join(f"{line}\n" for line in translator.translate(lines)) == expected
