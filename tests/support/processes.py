"""Start processes that have imported torch already, alone or as a group."""

import multiprocessing
import os
import time

import torch
import torch.distributed as dist

from seqtrans.training.distributed.process_group import leave
from seqtrans.training.distributed.rendezvous import connect

# Processes that need not import torch again: they are forks of one that has, and has done
# nothing else.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(
    [f"seqtrans.{part}.recipe.prepare" for part in ("translation", "images")] + ["torch._dynamo"]
)


def meet(work, folder, world, *arguments, patience=60, joined=True):
    """Run ``work(group, ...)`` in processes that have joined, or are to join; their exit codes.

    One alone is faster there than here, where shapes are checked.
    """
    how = (patience, joined)
    workers = [
        processes.Process(target=_join_and, args=(work, folder, rank, world, arguments, how))
        for rank in range(world)
    ]
    for worker in workers:
        worker.start()
    deadline = time.monotonic() + 100
    for worker in workers:
        worker.join(max(0.0, deadline - time.monotonic()))
        worker.kill()
        worker.join()
    return [worker.exitcode for worker in workers]


def _join_and(work, folder, rank, world, arguments, how):
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world))
    torch.set_num_threads(1)
    started = connect(f"file://{folder}/rendezvous")
    started.patience, joined = how
    work(started.join() if joined else started, folder, *arguments)
    if dist.is_initialized():
        dist.barrier()
    leave()
