"""The engine that needs nothing: processes on this machine, started again when they die."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Lock, Thread
from typing import IO, cast

import torch

from seqtrans.bulk.job import Job
from seqtrans.bulk.work import Shard

TRIES = 3
"""How often a shard is begun before it is given up: what kills three processes kills a fourth."""


@dataclass(frozen=True)
class Done:
    """How a shard went.

    Attributes:
        number: Of the shard.
        error: Why nothing can be translated; empty if all is well.
        death: How the last process died that tried, and no other will.
    """

    number: int
    error: str = ""
    death: str = ""


def translate_locally(
    job: Job, shards: Sequence[Shard], *, workers: int, threads: int, device: str
) -> Generator[Done]:
    """Translate shards, as they are done; closing the generator ends the processes."""
    crew = _Crew(job, shards, [str(job.folder), device, str(threads)], threads)
    try:
        yield from crew.work(min(workers, len(shards)))
    finally:
        crew.stop()


class _Crew:
    """Processes, each with a thread of the driver that hands it one shard after the other."""

    def __init__(
        self, job: Job, shards: Sequence[Shard], arguments: Sequence[str], threads: int
    ) -> None:
        self._job = job
        self._todo = iter(shards)
        self._command = [sys.executable, "-m", "seqtrans.bulk.worker", *arguments]
        self._cores = threads
        self._threads: list[Thread] = []
        self._done: SimpleQueue[Done | None] = SimpleQueue()
        self._running: dict[int, subprocess.Popen[str]] = {}
        self._lock = Lock()
        self._stopped = False

    def work(self, workers: int) -> Generator[Done]:
        """What is done, until all is."""
        for slot in range(workers):
            thread = Thread(target=self._serve, args=(slot,), daemon=True, name=f"worker {slot}")
            self._threads.append(thread)
            thread.start()
        ended = 0
        while ended < workers:
            done = self._done.get()
            if done is None:
                ended += 1
            else:
                yield done

    def stop(self) -> None:
        """End all processes, whatever they do."""
        with self._lock:
            self._stopped = True
            for process in self._running.values():
                process.kill()
        for thread in self._threads:
            thread.join()

    def _serve(self, slot: int) -> None:
        try:
            while (shard := self._next()) is not None:
                self._done.put(self._insist(slot, shard))
        finally:
            with self._lock:
                process = self._running.pop(slot, None)
            if process is not None:
                _end(process)
            self._done.put(None)

    def _next(self) -> Shard | None:
        with self._lock:
            return None if self._stopped else next(self._todo, None)

    def _insist(self, slot: int, shard: Shard) -> Done:
        done = Done(shard.number)
        for _ in range(TRIES):
            done = self._try(slot, shard.number)
            if not done.death or self._stopped:
                break
        return done

    def _try(self, slot: int, number: int) -> Done:
        process = self._process(slot)
        if process is None:
            return Done(number, death="stopped")
        questions, answers = cast("IO[str]", process.stdin), cast("IO[str]", process.stdout)
        with suppress(BrokenPipeError):  # it is dead already; then no answer comes
            questions.write(f"{number}\n")
            questions.flush()
        answer = answers.readline()
        if answer.endswith("\n"):
            return Done(number, error=json.loads(answer)["error"])
        code = process.wait()
        return Done(number, death=signal.Signals(-code).name if code < 0 else f"exit code {code}")

    def _process(self, slot: int) -> "subprocess.Popen[str] | None":
        """The process of a slot, a new one if it died; none once all is to end."""
        with self._lock:
            if self._stopped:
                return None
            process = self._running.get(slot)
            if process is not None and process.poll() is not None:
                _end(process)
                process = None
            if process is None:
                process = subprocess.Popen(  # noqa: S603
                    self._command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    encoding="utf-8",
                    env=self._environment(slot),
                    start_new_session=True,  # Ctrl-C is for the driver
                )
                self._running[slot] = process
            return process

    def _environment(self, slot: int) -> dict[str, str]:
        environment = {**os.environ, "OMP_NUM_THREADS": str(self._cores)}
        if (gpus := torch.cuda.device_count()) > 1:
            visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(gpus)))
            environment["CUDA_VISIBLE_DEVICES"] = visible.split(",")[slot % gpus]
        return environment


def _end(process: "subprocess.Popen[str]") -> None:
    process.kill()
    with suppress(BrokenPipeError), process:  # closes its pipes, and waits
        pass
