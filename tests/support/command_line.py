"""Run commands of seqtrans, in this process or in one of their own."""

import io
import os
import random
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from typing import NamedTuple

from seqtrans.cli import main

RECIPE = """
data:
  train: [{source: train.src, target: train.tgt}]
  validation: [{source: dev.src, target: dev.tgt}]
  segmentation: {kind: words}
  filter: {max_tokens: 8}
  batch_tokens: 200
model:
  encoder: {kind: recurrent, hidden_dim: 16, dropout: 0.1}
  decoder: {kind: recurrent, hidden_dim: 16, dropout: 0.1}
training:
  max_steps: 12
  validate_every_steps: 4
  log_every_steps: 4
  precision: fp32
  stopping: {metric: chrf}
  checkpoints: {keep_best: 2, keep_last: 1}
validation: {metrics: [chrf], decoding: {beam_size: 1, max_length: 10}}
decoding: {beam_size: 2, max_length: 10}
"""


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def seqtrans(folder, *arguments):
    """Run a command within this process, which has paid for importing torch."""
    out, err = io.TextIOWrapper(io.BytesIO(), write_through=True), io.StringIO()
    with chdir(folder), redirect_stdout(out), redirect_stderr(err):
        code = main([str(argument) for argument in arguments])
        out.flush()
    return Done(code, out.buffer.getvalue().decode(), err.getvalue())


def in_a_process(folder, *arguments, stdin=None):
    """Run a command as a user does: where speed, signals or the standard input matter."""
    return subprocess.run(
        [sys.executable, "-m", "seqtrans", *arguments],
        cwd=folder,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error"}


def write_corpus(folder, words, seed=1):
    """Sentences of at most 6 words and their reversal."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    for name, count in (("train", 80), ("dev", 10)):
        lines = [draw.choices(words, k=draw.randint(2, 6)) for _ in range(count)]
        (folder / f"{name}.src").write_text("".join(" ".join(x) + "\n" for x in lines))
        (folder / f"{name}.tgt").write_text("".join(" ".join(x[::-1]) + "\n" for x in lines))
