"""Memory that computing on a CPU keeps for later."""

import ctypes
import os
import platform

KERNELS = 128
"""Kernels kept at a time; in fp32 some count twice, and an update needs up to about 80."""

KEPT = 1 << 29
"""Bytes of freed memory at the end of the heap that the system does not get back at once."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_LARGEST_IN_HEAP = 32 << 20  # the most that glibc takes for the second
_CAPACITIES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")


def keep_few_kernels() -> None:
    """Let oneDNN keep few of the kernels it compiles, unless the environment says how many.

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


def keep_freed_memory() -> None:
    """Let glibc keep the memory of tensors that are freed, unless the environment says otherwise.

    By default it hands back what is free at the end of the heap as soon as that is more than
    twice the largest block, and every update asks for it again. The system then clears it page
    by page: 8 of the 28 ms of an update of LeNet in bf16 (batches of 128, Zen 4). Tensors above
    32 MB still come from the system and go back to it. Elsewhere than with glibc nothing is done.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    for name, number, size in (
        ("MALLOC_TRIM_THRESHOLD_", _M_TRIM_THRESHOLD, KEPT),
        ("MALLOC_MMAP_THRESHOLD_", _M_MMAP_THRESHOLD, _LARGEST_IN_HEAP),
    ):
        if name not in os.environ:
            libc.mallopt(number, size)
