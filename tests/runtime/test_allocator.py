"""Kernels that oneDNN keeps, and memory that glibc does."""

import ctypes
import os
import subprocess
import sys

import pytest
import torch

from seqtrans.runtime.out_of_memory import KERNELS

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


# Blocks of 8 MB as in every update: once freed, does the process keep them for the next?
# (Counting page faults instead would fail where the system does not count them.)
FREED = """
import ctypes
import torch
from torch import nn
from seqtrans.training.config import TrainingConfig
from seqtrans.training.trainer import Trainer

FIELDS = ["arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks"]
FIELDS += ["fordblks", "keepcost"]
class Allocations(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in FIELDS]
tell = ctypes.CDLL(None).mallinfo2
tell.restype = Allocations
Trainer(None, nn.Linear(8, 8), TrainingConfig(max_steps=1))
blocks = [torch.ones(2 << 20) for _ in range(4)]
before = tell().fordblks
del blocks
print(tell().fordblks - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="another allocator")
@pytest.mark.parametrize("chosen", [None, "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"])
def test_freed_memory_is_kept_unless_the_user_says_otherwise(chosen: str | None) -> None:
    names = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
    environment = {k: v for k, v in os.environ.items() if k not in names}
    environment |= {chosen: "1000000"} if chosen else {}
    command = [sys.executable, "-c", FREED]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert (int(done.stdout) >= 32 << 20) == (chosen is None)


CAP = """
import resource
import torch
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.{limit}, (used + (1 << 30), resource.RLIM_INFINITY))
"""


@pytest.mark.parametrize("limit", ["RLIMIT_AS", "RLIMIT_DATA"])
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="another allocator")
def test_where_memory_is_capped_freed_memory_is_given_back(limit: str) -> None:
    """Or libraries that map checkpoints or compiled code would find no room."""
    command = [sys.executable, "-c", CAP.format(limit=limit) + FREED]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 32 << 20


# What a program takes over by exec from a larger one is not its own.
LARGE = """
import os, sys
held = b"x" * 800_000_000
os.execv(sys.executable, [sys.executable, "-c", sys.argv[1]])
"""
TOLD = """
from seqtrans.runtime.memory_limits import peak_memory
before = peak_memory()
held = b"x" * 50_000_000
del held
print(before, peak_memory())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only ru_maxrss can be asked")
def test_the_memory_told_is_the_most_of_this_program_alone() -> None:
    command = [sys.executable, "-c", LARGE, TOLD]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert before + 40_000_000 < after < 700_000_000
