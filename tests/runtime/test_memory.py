"""Kernels that oneDNN keeps, and memory that glibc does."""

import ctypes
import os
import subprocess
import sys

import pytest

from seqtrans.runtime import memory
from seqtrans.runtime.memory import KERNELS, prepare_memory

# Products of one shape more than there is room for, then the first again. Then blocks of 8 MB, as
# in every update: once freed, does the process keep them for the next?
# (Counting page faults instead would fail where the system does not count them.)
PROGRAM = """
import ctypes
import resource
import sys
import torch
from seqtrans.runtime.memory import KERNELS, prepare_memory

if "capped" in sys.argv:
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_DATA, (used + (1 << 30), resource.RLIM_INFINITY))
prepare_memory()
weight = torch.ones(8, 8)
for rows in (*range(2, KERNELS + 3), 2):
    torch.ops.mkldnn._linear_pointwise(torch.ones(rows, 8), weight, None, "none", [], "")

FIELDS = ["arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks"]
FIELDS += ["fordblks", "keepcost"]
class Allocations(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in FIELDS]
tell = ctypes.CDLL(None).mallinfo2
tell.restype = Allocations
blocks = [torch.ones(2 << 20) for _ in range(4)]
before = tell().fordblks
del blocks
print("kept", tell().fordblks - before)
"""
CAPACITIES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
THRESHOLDS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="another allocator")
@pytest.mark.parametrize("case", ["default", "capped"])
def test_few_kernels_are_kept_and_freed_memory_unless_memory_is_capped(case: str) -> None:
    """Capped, libraries that map checkpoints or compiled code would find no room.

    There the user has also said how many kernels to keep.
    """
    environment = {k: v for k, v in os.environ.items() if k not in (*CAPACITIES, *THRESHOLDS)}
    is_capped = case == "capped"
    environment |= {name: str(4 * KERNELS) for name in CAPACITIES if is_capped}
    environment |= {"ONEDNN_VERBOSE": "2"}
    command = [sys.executable, "-c", PROGRAM, case]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    compiled = [line for line in lines if ",create:cache_miss," in line and ",reorder," not in line]
    assert len(compiled) == KERNELS + 1 + (not is_capped)
    (kept,) = (int(line.split()[1]) for line in lines if line.startswith("kept "))
    assert (kept >= 32 << 20) is not is_capped


@pytest.mark.parametrize("name", [*THRESHOLDS, None])
def test_a_user_who_sets_thresholds_of_memory_is_obeyed(name, monkeypatch) -> None:
    set_: list[int] = []
    for variable in THRESHOLDS:
        monkeypatch.delenv(variable, raising=False)
    for variable in CAPACITIES:
        monkeypatch.setenv(variable, "7")
    if name:
        monkeypatch.setenv(name, "1000000")
    libc = type("C", (), {"mallopt": lambda kind, _size: set_.append(kind)})
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: libc)
    monkeypatch.setattr(memory, "_is_capped", lambda: False)
    prepare_memory()
    assert bool(set_) is (name is None)
    assert [os.environ[variable] for variable in CAPACITIES] == ["7", "7"]


# What a program takes over by exec from a larger one is not its own.
LARGE = """
import os, sys
held = b"x" * 800_000_000
os.execv(sys.executable, [sys.executable, "-c", sys.argv[1]])
"""
TOLD = """
from seqtrans.runtime.memory import peak_memory
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
