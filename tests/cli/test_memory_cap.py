"""``seqtrans train`` and ``translate`` where memory is capped: in parts, and said in one line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="measures itself in /proc"
)
# What libraries map is not what a batch takes, so the cap is so much above that.
CAPPED = """
import resource, sys
import torch, torch._dynamo
import seqtrans.recipe.preparing, seqtrans.training.trainer, seqtrans.tasks.translator
from seqtrans.cli import main
torch.set_num_threads(1)
torch.ones(64, 64) @ torch.ones(64, 64)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
most = used + int(sys.argv[1]) * 1_000_000
resource.setrlimit(resource.RLIMIT_AS, (most, most))
sys.exit(main(sys.argv[2:]))
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


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "r.yaml").write_text(RECIPE)
    for split, count in (("train", 1500), ("dev", 40)):
        lines = [" ".join("abcdefgh"[(n + k) % 8] for k in range(9)) for n in range(count)]
        for side in ("src", "tgt"):
            (tmp_path / f"{split}.{side}").write_text("".join(f"{line}\n" for line in lines))
    return tmp_path


def capped(folder, megabytes, *arguments):
    command = [sys.executable, "-c", CAPPED, str(megabytes), *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr


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


def test_where_not_even_a_sentence_fits_it_says_so_in_one_line(folder):
    code, said = capped(
        folder, 60, "train", "r.yaml", "--run", "run", "--set", "model.encoder.ffn_dim=200000"
    )
    assert code == 2, said
    complaints = [line for line in said.splitlines() if line.startswith("seqtrans: ")]
    assert len(complaints) == 1, said
    assert "into memory" in complaints[0]


def test_auto_finds_what_fits(folder):
    auto = "data.batch_tokens=auto"
    code, said = capped(folder, 350, "train", "r.yaml", "--run", "run", "--set", auto)
    assert code == 0, said
    stored = yaml.safe_load((folder / "run" / "recipe.yaml").read_text())
    assert stored["data"]["batch_tokens"] == 256  # a hundredth of 15,000 tokens is less
    assert "memory ran out" not in said
