"""A process that translates shards, seen from the one that gives it work."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import IO, cast

_MODULE = "seqtrans.translation.bulk.worker_main"
TRIES = 3
"""How often a shard is begun before it is given up: what kills three processes kills a fourth."""


@dataclass(frozen=True)
class Done:
    """How a shard went.

    Attributes:
        number: Of the shard.
        error: Why nothing can be translated; empty if all is well.
        death: How the last process died that tried, and no other will.
        failure: Why this shard can't be translated, though others can.
    """

    number: int
    error: str = ""
    death: str = ""
    failure: str = ""


class WorkerProcess:
    """Runs ``worker_main``: started when it is needed, and again when it has died.

    One thread asks for translations and closes it; any other may kill it meanwhile.

    Args:
        folder: The job's own folder.
        device: Where to compute.
        threads: Processor cores to use.
        gpu: The only GPU that it sees, as CUDA names it; None leaves that as it is.
        memory: Bytes that it may take of what a container's processes share; None: no limit.
    """

    def __init__(
        self,
        folder: str,
        device: str,
        threads: int,
        gpu: str | None = None,
        memory: int | None = None,
    ) -> None:
        self._command = [
            sys.executable,
            "-m",
            _MODULE,
            folder,
            device,
            str(threads),
        ]
        self._command += [] if memory is None else [str(memory)]
        self._environment = {"OMP_NUM_THREADS": str(threads)}
        if gpu is not None:
            self._environment["CUDA_VISIBLE_DEVICES"] = gpu
        self._process: subprocess.Popen[str] | None = None
        self._lock = Lock()
        self._killed = False

    def translate(self, number: int) -> Done:
        """Have a shard translated, by several processes one after the other if they die."""
        done = Done(number)
        for _ in range(TRIES):
            done = self._try(number)
            if not done.death or self._killed:
                break
        return done

    def kill(self) -> None:
        """End the process, whatever it does, for good."""
        with self._lock:
            self._killed = True
            if self._process is not None:
                self._process.kill()

    def close(self) -> None:
        """End the process, and wait until it has."""
        self.kill()
        self._forget()

    def _try(self, number: int) -> Done:
        try:
            process = self._running()
        except OSError as error:
            return Done(number, error=f"can't start a process: {error.strerror or error}")
        if process is None:
            return Done(number, death="killed")
        questions, answers = cast("IO[str]", process.stdin), cast("IO[str]", process.stdout)
        with suppress(BrokenPipeError):  # it is dead already; then no answer comes
            questions.write(f"{number}\n")
            questions.flush()
        answer = answers.readline()
        if answer.endswith("\n"):
            return Done(number, **json.loads(answer))
        code = process.wait()
        return Done(number, death=signal.Signals(-code).name if code < 0 else f"exit code {code}")

    def _running(self) -> "subprocess.Popen[str] | None":
        """The process, a new one if it has died; none once it is to end."""
        if self._process is not None and self._process.poll() is not None:
            self._forget()
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

    def _forget(self) -> None:
        """Wait for a process that ends, and close its pipes."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            with suppress(BrokenPipeError), process:
                pass
