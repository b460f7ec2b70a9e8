"""Support for forked processes, such as those of ``multiprocessing.Pool`` on Linux."""

import functools
import os

import torch


@functools.cache
def prepare_for_forks() -> None:
    """Make all child processes that are forked from now on compute with one thread each.

    A fork copies only the calling thread. OpenMP in the child would wait forever for the threads
    of the parent; a single thread does not wait. To use more cores, start processes by ``spawn``.
    CUDA can't be used in a forked process: PyTorch raises an error.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=functools.partial(torch.set_num_threads, 1))
