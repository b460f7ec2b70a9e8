"""Memory that libraries keep for later use on a CPU: settings of glibc, oneDNN and cuBLAS."""

import ctypes
import os
import sys

import numpy as np

KERNELS = 128
"""Compiled kernels kept at a time; in fp32 some count twice, and an update needs up to 80."""

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # glibc's malloc.h
_LARGE = 1 << 30
_THRESHOLDS = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")
_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
_CAPACITIES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")


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
    if sys.platform == "win32":
        return False
    import resource

    limits = (resource.RLIMIT_AS, resource.RLIMIT_DATA)
    return any(resource.getrlimit(kind)[0] != resource.RLIM_INFINITY for kind in limits)
