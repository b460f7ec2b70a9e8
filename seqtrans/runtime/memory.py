"""Memory: limits, usage, what libraries keep of it, and the largest size that fits."""

import ctypes
import os
import re
import resource
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from seqtrans.runtime.out_of_memory import release

_USED_SHARE = 0.8  # the share of available CPU memory that may be used
_GROWTH = 1.2  # memory may grow by this factor faster than the size
_NO_LIMIT = 1 << 60  # version 1 of control groups writes "no limit" as about 2 ** 63
_earlier_peaks = [0]  # the peak before the kernel's counter was reset
_PAGE = resource.getpagesize()

KERNELS = 128
"""Compiled kernels kept at a time; in fp32 some count twice, and an update needs up to 80."""

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # glibc's malloc.h
_LARGE = 1 << 30
_THRESHOLDS = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")
_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
_CAPACITIES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")


def largest_that_fits(
    fits: Callable[[int], bool], smallest: int, most: int, device: torch.device, reserved: int = 0
) -> int:
    """Double a size until it no longer fits, refine it, and return an eighth less.

    On a GPU a size that is too large fails at no cost. On a CPU it may fail, if memory is capped,
    or make the machine swap: so the need of a size is estimated from the smaller sizes, and a size
    is not tried if less memory is available.

    Args:
        fits: Tries a size.
        smallest: The result if nothing fits.
        most: The largest result; it is returned unreduced if it fits.
        device: The device on which sizes are tried.
        reserved: Bytes that will be needed in addition.
    """
    estimator = _MemoryEstimator(device, reserved)
    largest = 0
    for size in _doubled(smallest, most):
        if not (estimator.allows(size) and fits(size)):
            break
        estimator.learn(size)
        largest = size
    if largest >= most:
        return largest
    for size in (largest * 7 // 4, largest * 3 // 2, largest * 5 // 4):
        if largest < size < most and estimator.allows(size) and fits(size):
            largest = size
            break
    return max(smallest, largest - largest // 8)


def peak_memory() -> int:
    """Return the peak in bytes: of the CUDA device if one is used, else of resident memory.

    On Linux ``ru_maxrss`` includes the process that started this one, so a notebook's gigabytes
    would be counted as the training's.
    """
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    return max(_earlier_peaks[-1], recent_peak())


def restart_peak() -> None:
    """Reset ``recent_peak``; ``peak_memory`` stays that of the process's lifetime.

    If the system does not support it, nothing happens.
    """
    _earlier_peaks.append(max(_earlier_peaks.pop(), recent_peak()))
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def recent_peak() -> int:
    """Return the peak of resident bytes since ``restart_peak``, if the system supports that."""
    with suppress(OSError):
        match = re.search(rb"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_bytes())
        if match:
            return int(match[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def available_memory(*, shared: bool = True) -> int:
    """Return the bytes that machine, control group and resource limits leave to this process.

    Args:
        shared: Leave equal shares of the machine to the other processes that one command started
            here. Without it, what they have taken already is not counted twice.
    """
    pages = _pages()
    taken = {resource.RLIMIT_AS: pages.all, resource.RLIMIT_DATA: pages.data}
    limits = {kind: resource.getrlimit(kind)[0] for kind in taken}  # per process
    bounds = [n - taken[kind] for kind, n in limits.items() if n != resource.RLIM_INFINITY]
    lines = [line.split() for line in _read("/proc/meminfo", "").splitlines()]
    sharing = _processes() if shared else 1
    bounds += [int(n[1]) * 1024 // sharing for n in lines if n[0] == "MemAvailable:"]
    cap = memory_cap()
    if cap is not None:
        bounds.append(cap - pages.resident)
    return max(0, min(bounds, default=1 << 62))


def memory_cap() -> int | None:
    """Return the bytes that the control group allows this process; None without a limit.

    A container has such a limit. The kernel kills a process that exceeds it.
    """
    group = Path("/sys/fs/cgroup", *Path(_group()).parts[1:])
    for file in (group / "memory.max", Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        text = _read(file, "").strip()
        if text.isdecimal() and int(text) < _NO_LIMIT:
            return int(text) // _processes()
    return None


def share_of_cap(workers: int, starters: int = 1) -> int | None:
    """Return the bytes that each worker process may take; None without a limit.

    Args:
        workers: Number of workers on this machine.
        starters: Number of processes like this one, which start them and keep their own memory.
    """
    cap, pages = memory_cap(), _pages()
    if cap is None:
        return None
    unshared = pages.resident - pages.shared  # mapped files can be dropped and read again
    return max(0, cap - unshared * starters) // workers


def limit_memory_to_cgroup(share: int | None = None) -> None:
    """Make an allocation fail, which can be handled, before the kernel kills the process.

    Commands call it before ``prepare_memory`` and anything else that takes memory; a library must
    not limit its process. With a GPU, whose driver maps far more than it takes, nothing is done. A
    lower limit is kept.

    Args:
        share: Bytes; by default the limit of the control group.
    """
    if torch.cuda.is_available():
        return
    cap = memory_cap() if share is None else share
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if cap is not None and (soft == resource.RLIM_INFINITY or cap < soft):
        resource.setrlimit(resource.RLIMIT_DATA, (cap, hard))


def _processes() -> int:
    """Return how many processes of this training run on this machine."""
    return max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


class _Pages(NamedTuple):
    """Memory of this process, in bytes."""

    all: int  # address space, with mapped files
    resident: int
    shared: int  # resident, from mapped files
    data: int  # address space that RLIMIT_DATA counts, and stacks


def _pages() -> _Pages:
    sizes = [int(n) * _PAGE for n in _read("/proc/self/statm", "0 0 0 0 0 0").split()]
    return _Pages(all=sizes[0], resident=sizes[1], shared=sizes[2], data=sizes[5])


class _MemoryEstimator:
    """Estimates the memory of a size from the sizes that were tried.

    Growth is measured from the memory held now, not from an earlier peak, such as that of training
    a vocabulary: below that peak every size would seem to cost nothing.
    """

    def __init__(self, device: torch.device, reserved: int) -> None:
        self._matters = device.type == "cpu"
        if self._matters:
            release()  # else a size could reuse freed memory, and its growth would not be seen
            restart_peak()
        self._available = _USED_SHARE * (available_memory() - reserved) if self._matters else 0.0
        self._before = recent_peak()
        self._per_size = 0.0

    def allows(self, size: int) -> bool:
        return not self._matters or self._per_size * size * _GROWTH <= self._available

    def learn(self, size: int) -> None:
        self._per_size = (recent_peak() - self._before) / size


def _doubled(smallest: int, most: int) -> list[int]:
    sizes = [smallest]
    while sizes[-1] < most:
        sizes.append(min(2 * sizes[-1], most))
    return sizes


def _group() -> str:
    """Return the path of this process's control group (version 2)."""
    lines = _read("/proc/self/cgroup", "").splitlines()
    return next((line[3:] for line in lines if line.startswith("0::")), "/")


def _read(path: str | Path, default: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return default


def prepare_memory() -> None:
    """Configure memory; call it before anything is computed, and after limits are set."""
    _keep_few_kernels()
    os.environ.setdefault(_CUBLAS, ":4096:8")  # makes cuBLAS deterministic
    if _is_capped():
        _reserve_for_numpy()
    else:
        _keep_freed_memory()


def _reserve_for_numpy() -> None:
    """Make numpy's BLAS allocate its buffer now: if it can't later, it ends the process.

    That happened when the curves of a finished run were drawn. The buffer stays allocated.
    """
    np.linalg.inv(np.eye(2))


def _keep_few_kernels() -> None:
    """Limit oneDNN's cache of compiled kernels, unless the environment sets its capacity.

    It compiles one for every new shape of a product, of 0.4 MB and more, and nearly every batch
    has a shape of its own. By default oneDNN keeps 1,024 of them and PyTorch's layer above it
    as many more, kind by kind; freed ones leave holes in the heap. Training the demo's 1.8
    million parameters for 600 updates took 1.8 GB, still growing; with 128 it stays at 0.65 GB
    and takes no longer, as batches far apart seldom meet in a shape.

    Both libraries read the environment when they first compute, not when they are loaded, so
    this must come before, and can still come after torch was imported. Later it has no effect.
    """
    for name in _CAPACITIES:
        os.environ.setdefault(name, str(KERNELS))


def _keep_freed_memory() -> None:
    """Make malloc keep freed memory, unless the environment sets its thresholds.

    The next update will ask for as much again.

    By default glibc maps every block of more than 32 MB anew, such as an LSTM's activations for the
    backward pass, and unmaps it when it is freed. The kernel then fills 300 MB with zeros, page by
    page, in every update: 7 % of the time of an LSTM of 512 features (2 threads, Zen 4). Other C
    libraries are left alone. It is not used if memory is capped: what malloc keeps is not available
    to libraries that map a checkpoint or compiled code, and fragmentation counts against the cap
    when batches are split.
    """
    if any(name in os.environ for name in _THRESHOLDS):
        return
    change = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if change is not None:
        change(_MMAP_THRESHOLD, _LARGE)
        change(_TRIM_THRESHOLD, _LARGE)


def _is_capped() -> bool:
    """Return whether a resource limit is set, by ``ulimit -v`` or for a container."""
    limits = (resource.RLIMIT_AS, resource.RLIMIT_DATA)
    return any(resource.getrlimit(kind)[0] != resource.RLIM_INFINITY for kind in limits)
