"""The engine for this machine: worker processes, started again when they die."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from queue import SimpleQueue
from threading import Lock
from typing import IO, cast

import torch

from seqtrans.runtime.memory import share_of_cap
from seqtrans.translation.bulk.job_spec import Shard

_MODULE = "seqtrans.translation.bulk.worker_main"
TRIES = 3
"""Attempts at a shard. What kills three processes kills a fourth."""


@dataclass(frozen=True)
class Done:
    """The outcome of a shard; translated if none of the texts says otherwise.

    Attributes:
        number: Number of the shard.
        error: Why no shard can be translated.
        death: How the process of the last attempt died.
        failure: Why this shard can't be translated, though others can.
    """

    number: int
    error: str = ""
    death: str = ""
    failure: str = ""


def translate_locally(
    folder: str, shards: Sequence[Shard], *, workers: int, threads: int, device: str
) -> Generator[Done]:
    """Translate shards of the job in ``folder``; yield each outcome as it comes.

    Closing the generator ends the processes.
    """
    count = min(workers, len(shards))
    memory = share_of_cap(count)
    processes = [WorkerProcess(folder, device, threads, _gpu(n), memory) for n in range(count)]
    idle: SimpleQueue[WorkerProcess] = SimpleQueue()
    for process in processes:
        idle.put(process)

    def translate(shard: Shard) -> Done:
        process = idle.get()
        try:
            return process.translate(shard.number)
        finally:
            idle.put(process)

    pool = ThreadPool(count)  # a thread waits for each process
    try:
        yield from pool.imap_unordered(translate, shards)
    finally:
        for process in processes:
            process.kill()
        pool.terminate()
        pool.join()
        for process in processes:
            process.close()


def _gpu(slot: int) -> str | None:
    """Return the GPU of a process, as CUDA names it; None if there are not several."""
    count = torch.cuda.device_count()
    if count < 2:
        return None
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
    return visible.split(",")[slot % count]


class WorkerProcess:
    """Runs ``worker_main``; started when it is needed, and again when it has died.

    One thread asks for translations and closes it; any other may kill it meanwhile.

    Args:
        folder: Folder of the job, ``Job.folder``.
        device: Where to compute.
        threads: Processor cores to use.
        gpu: The only GPU that it sees, as CUDA names it; None: all.
        memory: Most bytes that it may take; None: no limit.
    """

    def __init__(
        self,
        folder: str,
        device: str,
        threads: int,
        gpu: str | None = None,
        memory: int | None = None,
    ) -> None:
        self._command = [sys.executable, "-m", _MODULE, folder, device, str(threads)]
        self._command += [] if memory is None else [str(memory)]
        self._environment = {"OMP_NUM_THREADS": str(threads)}
        if gpu is not None:
            self._environment["CUDA_VISIBLE_DEVICES"] = gpu
        self._process: subprocess.Popen[str] | None = None
        self._lock = Lock()
        self._killed = False

    def translate(self, number: int) -> Done:
        """Have a shard translated; where the process dies, by another one, ``TRIES`` in all."""
        done = Done(number)
        for _ in range(TRIES):
            done = self._try(number)
            if not done.death or self._killed:
                break
        return done

    def kill(self) -> None:
        """End the process at once; it is not started again."""
        with self._lock:
            self._killed = True
            if self._process is not None:
                self._process.kill()

    def close(self) -> None:
        """End the process and wait for its end."""
        self.kill()
        self._release()

    def _try(self, number: int) -> Done:
        try:
            process = self._running()
        except OSError as error:
            return Done(number, error=f"can't start a process: {error.strerror or error}")
        if process is None:
            return Done(number, death="killed")
        requests, answers = cast("IO[str]", process.stdin), cast("IO[str]", process.stdout)
        with suppress(BrokenPipeError):  # it is dead, so no answer comes
            requests.write(f"{number}\n")
            requests.flush()
        answer = answers.readline()
        if answer.endswith("\n"):
            return Done(number, **json.loads(answer))
        code = process.wait()
        return Done(number, death=signal.Signals(-code).name if code < 0 else f"exit code {code}")

    def _running(self) -> "subprocess.Popen[str] | None":
        """Return the process, a new one if it has died; None after ``kill``."""
        if self._process is not None and self._process.poll() is not None:
            self._release()
        with self._lock:
            if self._process is None and not self._killed:
                self._process = subprocess.Popen(  # noqa: S603
                    self._command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    encoding="utf-8",
                    env={**os.environ, **self._environment},
                    start_new_session=True,  # Ctrl-C is for the driver
                )
            return self._process

    def _release(self) -> None:
        """Wait for a process that ends, and close its pipes."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            with suppress(BrokenPipeError), process:
                pass
