"""Computing in forked processes, such as those of ``multiprocessing.Pool`` on Linux."""

import functools
import os

import torch


@functools.cache
def prepare_for_forks() -> None:
    """Let children that this process forks from now on compute with one thread, each.

    A fork copies the thread that called it and no other. OpenMP in the child would wait for ever
    for the threads that computed in the parent; one thread waits for none. To use more cores,
    start processes by ``spawn``. CUDA can't be used in a forked process: PyTorch says so.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=functools.partial(torch.set_num_threads, 1))
