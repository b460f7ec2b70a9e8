"""Memory that computing on a CPU keeps for later."""

import os

KERNELS = 128
"""Kernels kept at a time; in fp32 some count twice, and an update needs up to about 80."""

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
