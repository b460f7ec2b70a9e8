"""What a command imports: of our own modules, and of libraries, only what it needs.

Each command runs in an interpreter of its own. ``import torch`` comes first and does not count: it
brings parts of ``torch.export`` along that we can't leave out.
"""

import json
import os
import subprocess
import sys

import pytest

from tests.support.command_line import write_corpus
from tests.support.shape_images import write_shapes

COUNTED = """
import json, sys
import torch
before = set(sys.modules)
from seqtrans.cli import main
code = main(sys.argv[2:])
new = sorted(set(sys.modules) - before)
from seqtrans.config import field_docs, pydantic_schema
made = [f.cache_info().currsize for f in (pydantic_schema._adapter, field_docs.notes_of)]
open(sys.argv[1], "w").write(json.dumps([code, new, made]))
"""
TRAINING = "training: {max_steps: 1, precision: fp32}"
TEXT = f"""
data:
  train: [{{source: train.src, target: train.tgt}}]
  validation: [{{source: dev.src, target: dev.tgt}}]
  segmentation: {{kind: words}}
model:
  encoder: {{kind: transformer, num_layers: 1, model_dim: 16, num_heads: 2, ffn_dim: 16}}
  decoder: {{kind: transformer, num_layers: 1, model_dim: 16, num_heads: 2, ffn_dim: 16}}
{TRAINING}
decoding: {{beam_size: 1, max_length: 5}}
"""
IMAGES = f"""
task: classification
data:
  train: {{kind: npz, path: train.npz}}
  validation: {{kind: fraction, fraction: 0.2}}
model: {{kind: mlp, widths: [8]}}
{TRAINING}
"""
# Reading a run takes its recipe, in which training is described, its state and its weights.
READS_A_RUN = {
    "seqtrans.training",
    "seqtrans.training.checkpoints",
    "seqtrans.training.checkpoints.find",
    "seqtrans.training.checkpoints.format",
    "seqtrans.training.checkpoints.provenance",
    "seqtrans.training.checkpoints.run_directory",
    "seqtrans.training.checkpoints.state_schema",
    "seqtrans.training.checkpoints.weights",
    "seqtrans.training.config",
    "seqtrans.training.distributed",
    "seqtrans.training.distributed.sharded_tensors",
    "seqtrans.training.stopping",
    "seqtrans.training.optim",
    "seqtrans.training.optim.optimizer_config",
    "seqtrans.training.optim.schedule",
    "seqtrans.training.state",
}


def imported_by(folder, *arguments, stdin=""):
    """What a command imports besides torch; how many schemas it builds and classes it explains."""
    file = folder / "imported.json"
    done = subprocess.run(
        [sys.executable, "-c", COUNTED, file, *arguments],
        cwd=folder,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    code, names, made = json.loads(file.read_text())
    assert code == 0, done.stderr
    return names, made


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    write_corpus(folder, "abcd")
    write_shapes(folder / "train.npz", 40, seed=1)
    (folder / "text.yaml").write_text(TEXT)
    (folder / "images.yaml").write_text(IMAGES)
    return folder


@pytest.fixture(scope="module")
def by_training_text(home):
    return imported_by(home, "train", "text.yaml", "--run", "run")[0]


@pytest.fixture(scope="module")
def by_translating(home, by_training_text):  # noqa: ARG001 - makes the run
    return imported_by(home, "translate", "run", stdin="a b\n")


def within(names, *packages):
    return [name for name in names if any(f"{name}.".startswith(f"{p}.") for p in packages)]


def test_training_on_text_imports_nothing_of_images(by_training_text):
    assert "seqtrans.translation.task" in by_training_text
    assert not within(by_training_text, "seqtrans.images", "keras", "timm", "ray")


def test_training_on_images_imports_nothing_of_translation(home):
    names, _ = imported_by(home, "train", "images.yaml", "--run", "images")
    assert "seqtrans.images.task" in names
    assert not within(names, "seqtrans.translation")
    assert not within(names, "sentencepiece", "sacrebleu", "ray")


def test_translating_imports_nothing_of_images_nor_of_recipes_of_both(by_translating):
    names, _ = by_translating
    assert "seqtrans.translation.inference.translator" in names
    modules = ("", ".options", ".parts", ".parts.bulk", ".text_io", ".translate")
    assert within(names, "seqtrans.cli") == [f"seqtrans.cli{name}" for name in modules]
    others = (
        "seqtrans.images",
        "seqtrans.recipe",
        "PIL",
        "matplotlib",
        "ray",
        "keras",
        "sacrebleu",
    )
    assert not within(names, *others, "torch.export", "torch.onnx", "torch._dynamo")


def test_translating_imports_of_training_what_reads_a_run(by_translating):
    assert set(within(by_translating[0], "seqtrans.training")) <= READS_A_RUN
    assert not within(
        by_translating[0],
        "seqtrans.translation.task",
        "seqtrans.translation.bulk",
        "seqtrans.translation.recipe.prepare",
        "seqtrans.translation.data.encoded_corpus",
        "seqtrans.translation.data.cache",
    )


def test_translating_builds_only_schemas_of_what_it_reads(by_translating):
    """pydantic checks the stored recipe, vocabulary and state, and the settings of the search.

    What fields mean, which takes reading the source of their classes, no command needs to know but
    ``keys``.
    """
    names, (schemas, documented) = by_translating
    assert "pydantic" in names
    assert 0 < schemas <= 4
    assert documented == 0
