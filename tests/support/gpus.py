"""What tests of GPUs share; they run where there are some, if ``--gpu`` lets them see these."""

import subprocess
import sys

import pytest
import torch

from tests.support.torchrun import write_corpus

GPU = "cuda"
on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU, and --gpu")
on_gpus = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs, and --gpu")
RECIPE = """
data:
  train: [{source: train.src, target: train.tgt}]
  validation: [{source: dev.src, target: dev.tgt}]
  segmentation: {kind: words}
  batch_tokens: 200
model:
  encoder: {kind: recurrent, hidden_dim: 16, dropout: 0.0}
  decoder: {kind: recurrent, hidden_dim: 16, dropout: 0.0}
training: {max_steps: 12, accumulate: 2, precision: fp32, stopping: {metric: perplexity}}
validation: {metrics: []}
"""


def prepared(folder):
    """A folder with a recipe and a corpus."""
    (folder / "r.yaml").write_text(RECIPE)
    write_corpus(folder)
    return folder


def train(folder, *arguments):
    command = [sys.executable, "-m", "seqtrans", "train", "r.yaml", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stderr
