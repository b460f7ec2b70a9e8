"""The commands where memory is capped: in parts, or said in one line."""

import json
import os
import random
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

import pytest
import yaml

from seqtrans.cli import main
from seqtrans.runtime import memory as largest

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="measures itself in /proc"
)
# What libraries map is not what a batch takes, so the cap is so much above that.
CAPPED = """
import resource, sys
import torch, torch._dynamo
import seqtrans.recipe.load, seqtrans.translation.recipe.prepare, seqtrans.training.trainer
import seqtrans.translation.inference.translator
from seqtrans.cli import main
torch.set_num_threads(1)
torch.ones(64, 64) @ torch.ones(64, 64)
limit, field = {"v": (resource.RLIMIT_AS, 0), "d": (resource.RLIMIT_DATA, 5)}[sys.argv[1]]
used = int(open("/proc/self/statm").read().split()[field]) * resource.getpagesize()
most = used + int(sys.argv[2]) * 1_000_000
resource.setrlimit(limit, (most, most))
sys.exit(main(sys.argv[3:]))
"""
RECIPE = """
data:
  train: [{source: train.src, target: train.tgt}]
  validation: [{source: dev.src, target: dev.tgt}]
  segmentation: {kind: words}
  batch_tokens: 16000
model:
  encoder: {kind: transformer, num_layers: 2, model_dim: 64, num_heads: 2, ffn_dim: 512}
  decoder: {kind: transformer, num_layers: 2, model_dim: 64, num_heads: 2, ffn_dim: 512}
training:
  max_steps: 3
  precision: fp32
  log_every_steps: 1
  stopping: {metric: loss}
validation: {metrics: []}
"""
# Wide layers and many words, so that memory decides how much of a text of few sentences fits.
WIDE = """
data:
  train: [{source: train.src, target: train.tgt}]
  validation: [{source: dev.src, target: dev.tgt}]
  segmentation: {kind: words}
  batch_tokens: auto
model:
  encoder: {kind: transformer, num_layers: 1, model_dim: 16, num_heads: 2, ffn_dim: 6000}
  decoder: {kind: transformer, num_layers: 1, model_dim: 16, num_heads: 2, ffn_dim: 6000}
training: {max_steps: 3, precision: fp32, stopping: {metric: loss}}
validation: {metrics: [chrf], decoding: {batch_tokens: auto, max_length: 3}}
decoding: {batch_tokens: auto, max_length: 3, max_source_tokens: 9}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "r.yaml").write_text(RECIPE)
    for split, count in (("train", 1500), ("dev", 40)):
        lines = [" ".join("abcdefgh"[(n + k) % 8] for k in range(9)) for n in range(count)]
        for side in ("src", "tgt"):
            (tmp_path / f"{split}.{side}").write_text("".join(f"{line}\n" for line in lines))
    return tmp_path


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A run whose sizes were measured where memory is capped as by a container, and what it said.

    Freed blocks leave no holes, so that what a size takes does not depend on what came before.
    """
    folder = tmp_path_factory.mktemp("wide")
    (folder / "r.yaml").write_text(WIDE)
    draw = random.Random(1)  # noqa: S311 - no secret
    for name, count in (("train", 10_000), ("dev", 250)):
        for side in ("src", "tgt"):
            lines = [" ".join(map(str, draw.choices(range(20_000), k=9))) for _ in range(count)]
            (folder / f"{name}.{side}").write_text("".join(f"{line}\n" for line in lines))
    arguments = ("train", "r.yaml", "--run", "run")
    return folder, *capped(folder, 300, *arguments, limit="d", MALLOC_MMAP_THRESHOLD_="131072")


def capped(folder, megabytes, *arguments, limit="v", **variables):
    """Run a command that may take so much more under ``ulimit -v`` or ``-d``."""
    command = [sys.executable, "-c", CAPPED, limit, str(megabytes), *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | variables
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr


@pytest.mark.faults
def test_a_run_that_does_not_fit_goes_on_in_parts_and_resumes(folder):
    code, said = capped(folder, 350, "train", "r.yaml", "--run", "run")
    assert code == 0, said
    assert "fit into memory at once: what is larger will be computed in parts" in said
    assert "step 1: memory ran out for " in said
    assert "memory ran out" in (folder / "run" / "log.txt").read_text()
    (limit, *_) = yaml.safe_load((folder / "run" / "sizes.yaml").read_text())["limits"]
    assert limit["after_step"] == 0
    lines = [json.loads(x) for x in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    shown = [line["train/size_limit"] for line in lines if "train/size_limit" in line]
    assert len(shown) == 3
    assert min(shown) <= limit["largest"]
    stored = folder / "run" / "recipe.yaml"
    stored.write_text(stored.read_text().replace("max_steps: 3", "max_steps: 4"))
    code, said = capped(folder, 350, "train", "r.yaml", "--run", "run", "--resume")
    assert code == 0, said
    assert "memory ran out for " not in said  # it knows


@pytest.mark.faults
def test_where_not_even_a_sentence_fits_it_says_so_in_one_line(folder):
    code, said = capped(
        folder, 60, "train", "r.yaml", "--run", "run", "--set", "model.encoder.ffn_dim=200000"
    )
    assert code == 2, said
    complaints = [line for line in said.splitlines() if line.startswith("seqtrans: ")]
    assert len(complaints) == 1, said
    assert "into memory" in complaints[0]


@pytest.mark.faults
def test_auto_finds_what_fits(wide):
    """Between the least and the most that it chooses, by measuring; and then it does fit."""
    folder, code, said = wide
    assert code == 0, said
    stored = yaml.safe_load((folder / "run" / "recipe.yaml").read_text())
    assert 256 < stored["data"]["batch_tokens"] < 1000  # a hundredth of an epoch
    assert 256 < stored["validation"]["decoding"]["batch_tokens"] < 2500  # all there is
    assert 256 < stored["decoding"]["batch_tokens"] < 4096
    assert "step 3  validation: loss " in said
    assert "memory ran out" not in said


@pytest.mark.parametrize(
    "command",
    [
        ("train", "r.yaml"),
        ("translate", "run"),
        ("score", "run", "dev.src", "dev.tgt"),
        ("evaluate", "."),
        ("classify", "run", "image.png"),
    ],
)
def test_commands_heed_the_cap_of_a_container(folder, monkeypatch, command):
    """Before all else: there is no run yet, and no text to learn from."""
    (folder / "train.src").write_text("")
    files = {"/proc/self/cgroup": "0::/a\n", "/sys/fs/cgroup/a/memory.max": "5000\n"}
    set_to = []
    monkeypatch.setattr(largest, "_read", lambda path, otherwise: files.get(str(path), otherwise))
    monkeypatch.setattr(largest.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(largest.resource, "getrlimit", lambda _: (-1, -1))
    monkeypatch.setattr(largest.resource, "setrlimit", lambda *given: set_to.append(given))
    with chdir(folder):
        assert main(list(command)) == 2
    assert set_to == [(largest.resource.RLIMIT_DATA, (5000, -1))]


def test_a_shortage_that_nobody_answers_is_one_line(monkeypatch, capsys):
    def fail(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")

    monkeypatch.setattr("seqtrans.translation.recipe.load_run.load_run", fail)
    assert main(["translate", "run"]) == 2
    assert capsys.readouterr().err.startswith("seqtrans: memory ran out: ")


@pytest.mark.faults
@pytest.mark.parametrize("limit", ["v", "d"])
def test_a_translation_that_does_not_fit_is_halved_and_the_same(wide, limit):
    folder, code, said = wide
    assert code == 0, said
    command = ("translate", "run", "dev.src", "--batch-tokens", "4096", "-o")
    with chdir(folder):
        assert main([*command, "at-once"]) == 0
    code, said = capped(folder, 130, *command, "in-parts", limit=limit)
    assert code == 0, said
    assert "out of memory for a batch of sentences; from now on each batch is computed in" in said
    expected = (folder / "at-once").read_text()
    assert len(set(expected.splitlines())) > 1
    assert (folder / "in-parts").read_text() == expected
