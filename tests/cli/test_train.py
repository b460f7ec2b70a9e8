# ruff: noqa: E501 - messages are told in full
"""``seqtrans train`` and what lives on a run: average, show, resume, fine-tuning."""

import json
import shutil
import signal
import subprocess
import sys
import time

import pytest
from safetensors.torch import load_file

from seqtrans.translation.tokenization.segmenters import load_segmenters
from tests.support.command_line import RECIPE, environment, in_a_process, seqtrans, write_corpus

MANY_STEPS = ("--set", "training.max_steps=9000")  # no machine ends before it is told to


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a corpus, a recipe, and a run trained by it."""
    folder = tmp_path_factory.mktemp("home")
    write_corpus(folder, "abcdefgh")
    with (folder / "train.src").open("a") as file:
        file.write("a " * 9 + "\n\nb\n")
    with (folder / "train.tgt").open("a") as file:
        file.write("a " * 9 + "\nb\n\n")
    (folder / "toy.yaml").write_text(RECIPE)
    done = in_a_process(folder, "train", "toy.yaml")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    (folder / "said").write_text(done.stderr)
    return folder


def test_a_run_says_what_it_found_and_how_to_go_on(home):
    said = (home / "said").read_text()
    assert "training: 83 pairs, 80 kept, 3 dropped: 1 empty source, 1 empty target, 1 source too long" in said  # fmt: skip
    assert "validation: 10 pairs, 10 kept, 0 dropped" in said
    assert "vocabulary: 12 source tokens, 12 target tokens" in said
    assert "largest batch: " in said
    assert "max_steps reached after step 12" in said
    assert said.endswith("translate with: seqtrans translate runs/toy < INPUT > OUTPUT\n")


def test_a_run_directory_holds_everything(home):
    run = home / "runs" / "toy"
    names = {path.name for path in run.iterdir()}
    assert names >= {"recipe.yaml", "vocabulary", "metrics.jsonl", "log.txt", "checkpoints"}
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    entries = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [e["step"] for e in entries if "valid/chrf" in e] == [4, 8, 12]
    assert (
        seqtrans(home, "show", "runs/toy", "--recipe").stdout == (run / "recipe.yaml").read_text()
    )
    moved = home / "moved"
    run.rename(moved)
    try:
        done = in_a_process(home, "translate", "moved", stdin="a b\n\nc\n")
    finally:
        moved.rename(run)
    assert (done.returncode, done.stdout.count("\n"), done.stdout.split("\n")[1]) == (0, 3, "")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "no curves.png: memory ran out"),
        (OSError(28, "No space left on device"), "no curves.png: No space left on device"),
        (ImportError(), "no curves.png: that takes pip install 'seqtrans[plots]'"),
    ],
)
def test_a_run_whose_curves_can_not_be_drawn_is_done(home, monkeypatch, error, said):
    def draw(*_):
        raise error

    monkeypatch.setattr("seqtrans.training.reporting.plots.draw_curves", draw)
    run = home / "runs" / type(error).__name__
    done = seqtrans(home, "train", "toy.yaml", "--run", run, "--set", "training.max_steps=1")
    assert done.returncode == 0
    assert said in done.stderr
    assert "translate with: seqtrans translate" in done.stderr


def test_show_and_average_agree_on_the_checkpoints(home):
    shown = seqtrans(home, "show", "runs/toy").stdout
    assert "model        recurrent encoder, recurrent decoder" in shown
    assert "<- " in shown
    assert "last" in shown
    done = seqtrans(home, "average", "runs/toy", "--best", "2")
    assert (done.returncode, done.stdout) == (0, "")
    assert "averaged: the mean of the steps " in done.stderr
    assert "averaged  not validated" in seqtrans(home, "show", "runs/toy").stdout
    (home / "input").write_text("a b\n")
    done = seqtrans(home, "translate", "runs/toy", "input", "--checkpoint", "averaged", "-o", "out")
    assert (done.returncode, done.stdout, (home / "out").read_text().count("\n")) == (0, "", 1)
    done = seqtrans(home, "translate", "runs/toy", "--checkpoint", "7", "-o", "out")
    assert "has no checkpoint '7'; it has best, last, averaged, " in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "toy.yaml"], "run directory runs/toy exists already; go on with it by --resume, or choose another"),
        (["train", "toy.yaml", "--run", "no", "--resume"], "there is no run directory no"),
        (["train", "toy.yaml", "--resume", "--set", "init_from=."], "--set init_from: runs/toy has begun already; begin another run with it"),
        (["train", "toy.yaml", "--resume", "--set", "training.sed=2"], "--set training.sed: training has no key 'sed'; did you mean 'seed'?"),
        (["train", "no.yaml"], "no.yaml: there is no such file"),
        (["average", "runs/toy", "--step", "4", "--step", "4"], "a --step is given twice: each checkpoint counts once"),
        (["show", "x" * 300], "there is no run directory xxx"),
        (["train", "toy.yaml", "--run", "x" * 300], "run directory xxx"),
        (["show", "toy.yaml"], "toy.yaml is a file, not a run directory"),
        (["show", "runs"], "runs is not a run directory: it holds no recipe.yaml"),
        (["average", "runs/toy", "--best", "9"], "runs/toy keeps "),
        (["average", "runs/toy", "--step", "7"], "runs/toy has no checkpoint 7; it has "),
        (["average", "runs/toy", "--best", "2", "--step", "4"], "give --best, --last or --step, not several"),
        (["translate", "runs/toy", "--checkpoint", "7", "-o", "out"], "runs/toy has no checkpoint '7'; it has best, last"),
    ],
)  # fmt: skip
def test_what_can_not_be_done_is_one_line(home, arguments, message):
    done = seqtrans(home, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"seqtrans: {message}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("data.segmentation={kind: sentencepiece, vocab_size: 5000}", "vocab"),
        ("model.decoder.hidden_dim=1000000000000", "the model does not fit into memory; make it smaller"),
        ("data.filter.min_tokens=8", "no pair is left to train on"),
        ("training.freeze=['decodr.*']", "freeze: no parameter or buffer matches 'decodr.*'; there are decoder."),
        ("training.checkpoints={keep_best: 1, keep_last: 100000000}", "free some, or lower"),
        ("init_from=.", "is not a run directory"),
    ],
)  # fmt: skip
def test_a_run_that_can_not_start_leaves_nothing_behind(home, setting, message):
    done = seqtrans(home, "train", "toy.yaml", "--run", "doomed", "--set", setting)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("seqtrans: ")
    assert message in last
    assert not (home / "doomed").exists()


def test_an_unwritable_place_is_told_before_anything_runs(home):
    (home / "file").write_text("")
    done = seqtrans(home, "train", "toy.yaml", "--run", "file/run")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "seqtrans: run directory file/run can't be made: Not a directory\n"


def test_an_interrupted_run_saves_says_how_to_go_on_and_goes_on(home):
    command = [sys.executable, "-m", "seqtrans", "train", "toy.yaml", "--run", "long"]
    process = subprocess.Popen(
        [*command, "--set", "training.validate_every_steps=9000", *MANY_STEPS],
        cwd=home,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    metrics = home / "long" / "metrics.jsonl"
    wait_until(lambda: metrics.exists() and metrics.read_text().count("\n") >= 3)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 128 + signal.SIGTERM
    assert said.endswith("go on with: seqtrans train toy.yaml --run long --resume\n")
    last = int((home / "long/checkpoints/last").read_text())
    assert 12 <= last < 9000
    recipe = home / "long" / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("max_steps: 9000", f"max_steps: {last + 50}"))
    done = in_a_process(home, "train", "toy.yaml", "--run", "long", "--resume")
    assert done.returncode == 0, done.stderr
    assert "going on as long/recipe.yaml says; toy.yaml says something else" in done.stderr
    assert f"going on after step {last:,} in epoch " in done.stderr
    assert f"max_steps reached after step {last + 50:,}" in done.stderr
    entries = [json.loads(line) for line in metrics.read_text().splitlines()]
    steps = [entry["step"] for entry in entries if "train/loss" in entry]
    assert steps == sorted(set(steps)), "no step was taken twice"


def test_a_run_killed_before_its_first_checkpoint_starts_again(home):
    shutil.copytree(home / "runs/toy", home / "early")
    for part in ("checkpoints", "vocabulary"):
        shutil.rmtree(home / "early" / part)
        (home / "early" / part).mkdir()
    done = in_a_process(home, "train", "toy.yaml", "--run", "early", "--resume")
    assert done.returncode == 0, done.stderr
    assert "nothing was saved yet: starting anew" in done.stderr
    again, straight = weights(home / "early", "last"), weights(home / "runs/toy", "last")
    assert all(again[name].equal(straight[name]) for name in straight)


def wait_until(happens):
    deadline = time.monotonic() + 300
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_fine_tuning_starts_from_the_weights_and_the_vocabulary(home):
    settings = ("--set", "init_from=runs/toy", "--set", "training.freeze=['encoder.*']")
    done = seqtrans(home, "train", "toy.yaml", "--run", "tuned", *settings)
    assert done.returncode == 0, done.stderr
    assert "starting from the weights of " in done.stderr
    assert f"segmentation: copied from {home}/runs/toy, data.segmentation is ignored" in done.stderr
    for file in (home / "runs/toy/vocabulary").iterdir():
        assert (home / "tuned/vocabulary" / file.name).read_bytes() == file.read_bytes()
    before, after = weights(home / "runs/toy", "best"), weights(home / "tuned", "last")
    same = {name for name in before if before[name].equal(after[name])}
    assert {name for name in before if name.startswith("encoder.")} <= same
    assert not {name for name in before if name.startswith("decoder.")} & same


def test_a_new_vocabulary_carries_over_what_both_have(home, tmp_path):
    write_corpus(tmp_path, "efghXYZ", seed=2)
    (tmp_path / "new.yaml").write_text(RECIPE)
    origin = f"init_from={{run: {home}/runs/toy, checkpoint: 12, vocabulary: new}}"
    settings = ("--set", origin, "--set", "training.max_steps=1")
    done = seqtrans(tmp_path, "train", "new.yaml", *settings)
    assert done.returncode == 0, done.stderr
    assert "embeddings of 8 of 11 source tokens and 8 of 11 target tokens" in done.stderr
    old, new = (pieces(home / "runs/toy"), pieces(tmp_path / "runs/new"))
    before = weights(home / "runs/toy", "last")["source_embedding.weight"]
    after = weights(tmp_path / "runs/new", "last")["source_embedding.weight"]
    for piece in "efgh":  # a step of the schedule's warm-up moves weights by very little
        assert (before[old.index(piece)] - after[new.index(piece)]).abs().max() < 1e-4
    assert (before[old.index("a")] - after[new.index("X")]).abs().max() > 1e-2


def pieces(run):
    return list(load_segmenters(run / "vocabulary").source.pieces)


def weights(run, pointer):
    name = (run / "checkpoints" / pointer).read_text().strip()
    return load_file(run / "checkpoints" / name / "model.safetensors")
