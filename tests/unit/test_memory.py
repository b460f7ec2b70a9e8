"""Kernels that oneDNN keeps."""

import os
import subprocess
import sys

import pytest
import torch

from seqtrans.training.memory import KERNELS

# One shape more than there is room for, then the first again.
PROGRAM = """
import torch
from torch import nn
from seqtrans.training.config import TrainingConfig
from seqtrans.training.trainer import Trainer

Trainer(None, nn.Linear(8, 8), TrainingConfig(max_steps=1))
weight = torch.ones(8, 8)
for rows in (*range(2, {kernels} + 3), 2):
    torch.ops.mkldnn._linear_pointwise(torch.ones(rows, 8), weight, None, "none", [], "")
"""


@pytest.mark.parametrize("chosen", [None, 4 * KERNELS])
def test_training_bounds_the_kernels_kept_unless_the_user_does(chosen: int | None) -> None:
    assert torch.backends.mkldnn.is_available()
    names = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
    environment = {k: v for k, v in os.environ.items() if k not in names}
    environment |= {name: str(chosen) for name in names if chosen} | {"ONEDNN_VERBOSE": "2"}
    command = [sys.executable, "-c", PROGRAM.format(kernels=KERNELS)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    products = [line for line in done.stdout.splitlines() if ",create:" in line]
    products = [line for line in products if ",reorder," not in line]
    compiled = sum(",create:cache_miss," in line for line in products)
    assert compiled == KERNELS + 1 + (chosen is None)
