"""The engine that needs nothing: processes on this machine, started again when they die."""

import os
from collections.abc import Generator, Sequence
from queue import SimpleQueue
from threading import Lock, Thread

import torch

from seqtrans.runtime.memory import share_of_cap
from seqtrans.translation.bulk.job_spec import Shard
from seqtrans.translation.bulk.worker_process import Done, WorkerProcess


def translate_locally(
    folder: str, shards: Sequence[Shard], *, workers: int, threads: int, device: str
) -> Generator[Done]:
    """Translate shards of the job in ``folder``, as they are done.

    Closing the generator ends the processes.
    """
    count = min(workers, len(shards))
    memory = share_of_cap(count)
    processes = [WorkerProcess(folder, device, threads, _gpu(n), memory) for n in range(count)]
    crew = _Crew(shards, processes)
    try:
        yield from crew.work()
    finally:
        crew.stop()


class _Crew:
    """Processes, each with a thread of the driver that hands it one shard after the other."""

    def __init__(self, shards: Sequence[Shard], workers: Sequence[WorkerProcess]) -> None:
        self._todo = iter(shards)
        self._workers = workers
        self._threads = [
            Thread(target=self._serve, args=(worker,), daemon=True, name=f"worker {n}")
            for n, worker in enumerate(workers)
        ]
        self._done: SimpleQueue[Done | None] = SimpleQueue()
        self._lock = Lock()
        self._stopped = False

    def work(self) -> Generator[Done]:
        """What is done, until all is."""
        for thread in self._threads:
            thread.start()
        serving = len(self._threads)
        while serving:
            done = self._done.get()
            if done is None:
                serving -= 1
            else:
                yield done

    def stop(self) -> None:
        """End all processes, whatever they do."""
        with self._lock:
            self._stopped = True
        for worker in self._workers:
            worker.kill()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def _serve(self, worker: WorkerProcess) -> None:
        try:
            while (shard := self._next()) is not None:
                self._done.put(worker.translate(shard.number))
        finally:
            worker.close()
            self._done.put(None)

    def _next(self) -> Shard | None:
        with self._lock:
            return None if self._stopped else next(self._todo, None)


def _gpu(slot: int) -> str | None:
    """The GPU of a process, as CUDA names it; None where there is nothing to choose."""
    count = torch.cuda.device_count()
    if count < 2:
        return None
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
    return visible.split(",")[slot % count]
