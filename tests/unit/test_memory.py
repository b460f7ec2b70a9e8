"""Kernels that oneDNN keeps, and memory that glibc does."""

import os
import platform
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


# Blocks of 8 MB, freed and asked for again as in every update: does the system clear them anew?
FAULTS = """
import resource
import torch
from torch import nn
from seqtrans.training.config import TrainingConfig
from seqtrans.training.trainer import Trainer

Trainer(None, nn.Linear(8, 8), TrainingConfig(max_steps=1))
def update():
    blocks = [torch.ones(2 << 20) for _ in range(4)]
for _ in range(3):
    update()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    update()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
@pytest.mark.parametrize("chosen", [None, "1000000"])
def test_freed_memory_is_kept_unless_the_user_says_otherwise(chosen: str | None) -> None:
    names = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")
    environment = {k: v for k, v in os.environ.items() if k not in names}
    environment |= {name: chosen for name in names if chosen}
    command = [sys.executable, "-c", FAULTS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    pages = 5 * (32 << 20) // os.sysconf("SC_PAGE_SIZE")
    assert (int(done.stdout) < pages // 10) == (chosen is None)
