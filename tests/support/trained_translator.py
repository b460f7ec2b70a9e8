"""A run of three steps to translate with, as a fixture."""

import json
import random
from contextlib import chdir, redirect_stderr
from io import StringIO

import pytest

from seqtrans.cli import main

RECIPE = """
data:
  train: [{source: train.src, target: train.tgt}]
  validation: [{source: train.src, target: train.tgt}]
  segmentation: {kind: characters}
model:
  encoder: {kind: transformer, num_layers: 1, model_dim: 16, num_heads: 2, ffn_dim: 16}
  decoder: {kind: transformer, num_layers: 1, model_dim: 16, num_heads: 2, ffn_dim: 16}
training: {max_steps: 3, precision: fp32}
validation: {metrics: []}
decoding: {beam_size: 2, max_length: 8, max_source_tokens: 30}
"""


INPUT = "ab cd\n\n \t \na\rb\x00c\u2028d\n" + "dcba. " * 20 + "\n漢字 🏳️‍🌈\nab cd"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    draw = random.Random(1)  # noqa: S311 - no secret
    lines = ["".join(draw.choices("abcd. ", k=8)).strip() or "a" for _ in range(20)]
    (folder / "train.src").write_text("".join(f"{line}\n" for line in lines))
    (folder / "train.tgt").write_text("".join(f"{line[::-1].strip()}\n" for line in lines))
    (folder / "toy.yaml").write_text(RECIPE)
    (folder / "input").write_bytes(INPUT.encode())
    code, said = run(folder, "train", "toy.yaml", "--run", "run")
    assert code == 0, said
    return folder


def run(folder, *arguments):
    """Run a command within this process, which has paid for importing torch."""
    said = StringIO()
    with chdir(folder), redirect_stderr(said):
        code = main([str(argument) for argument in arguments])
    return code, said.getvalue()


def json_lines(text):
    return [json.loads(line) for line in text.splitlines()]
