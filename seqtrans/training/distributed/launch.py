"""Several processes of one command on this machine, as ``torchrun`` starts them on many.

``torch.distributed.launcher`` has one time limit for both of what differs here (torch 2.13): after
a signal processes finish an update and save, however long that takes; after a failure, those that
hang are killed soon. It also ends the others by SIGTERM as soon as one has failed, before one of
them can say why.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

import torch
from torch.distributed import Store, TCPStore  # pyright: ignore[reportPrivateImportUsage]

from seqtrans.errors import TrainingError
from seqtrans.runtime.cpu_count import usable_cores
from seqtrans.runtime.signals import SIGNALS
from seqtrans.training.distributed.failure_reports import KEY_EXITED, KEY_REPORTED, attempt_store

LIFELINE = "SEQTRANS_LIFELINE"
"""Environment variable: number of a file descriptor that ends when the launcher does."""
GRACE = 30.0
"""Seconds that the others have to end by themselves once one process has failed."""


def launch(arguments: Sequence[str], devices: int) -> int:
    """Run ``python -m seqtrans`` in several processes that train together; the exit code.

    SIGINT and SIGTERM are passed on to all. Once one fails, the others have ``GRACE`` to end.

    Args:
        arguments: Of the command line, the same for all.
        devices: How many processes; with CUDA, each has a GPU of its own.

    Raises:
        TrainingError: There are fewer GPUs than that.
    """
    gpus = torch.cuda.device_count()
    if 0 < gpus < devices:
        raise TrainingError(f"--devices {devices}: this machine has {gpus} GPUs")
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    reading, writing = os.pipe()
    try:
        environments = [_environment(rank, devices, store.port, reading) for rank in range(devices)]
        command = [sys.executable, "-m", "seqtrans", *arguments]
        started = [
            # Ctrl-C reaches the launcher alone, which passes it on once.
            subprocess.Popen(command, env=env, pass_fds=[reading], start_new_session=True)  # noqa: S603
            for env in environments
        ]
        with _forward_signals(started) as signals:
            return _watch(started, attempt_store(store), signals)
    finally:
        os.close(reading)
        os.close(writing)


def follow_launcher() -> None:
    """Finish, as on SIGTERM, when the launcher that started this process is gone."""
    lifeline = os.environ.pop(LIFELINE, None)
    if lifeline is None:
        return

    def wait() -> None:
        os.read(int(lifeline), 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def _environment(rank: int, devices: int, port: int, lifeline: int) -> dict[str, str]:
    threads = max(1, usable_cores() // devices)
    return {
        "OMP_NUM_THREADS": str(threads),
        **os.environ,
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(devices),
        "LOCAL_WORLD_SIZE": str(devices),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",  # the launcher keeps the store
        LIFELINE: str(lifeline),
    }


@contextmanager
def _forward_signals(started: Sequence[subprocess.Popen[bytes]]) -> Generator[list[int]]:
    """Forward signals to all processes; yield the list of those received."""
    received: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        received.append(number)
        for process in started:
            with suppress(ProcessLookupError):
                process.send_signal(number)

    previous = {number: signal.signal(number, forward) for number in SIGNALS}
    try:
        yield received
    finally:
        for process in started:
            process.kill()
            process.wait()
        for number, handler in previous.items():
            signal.signal(number, handler)


def _watch(started: Sequence[subprocess.Popen[bytes]], store: Store, signals: Sequence[int]) -> int:
    """Wait for all; return the code of the first that failed, as a shell would give it.

    Raises:
        TrainingError: One failed and none has reported why.
    """
    failures: list[tuple[int, int]] = []  # rank and code, the first first
    deadline = float("inf")
    waiting = dict(enumerate(started))
    while waiting and time.monotonic() < deadline:
        time.sleep(0.05)
        for rank, process in list(waiting.items()):
            code = process.poll()
            if code is None:
                continue
            del waiting[rank]
            if code:
                store.set(f"{KEY_EXITED}/{rank}", _describe(code))
                deadline = min(deadline, time.monotonic() + GRACE)
                failures.append((rank, code))
    if not failures:
        return 0
    rank, code = failures[0]
    is_expected = code > 0 and signals  # a process that was told to end need not say so
    if not is_expected and store.add(KEY_REPORTED, 1) == 1:
        raise TrainingError(
            f"process {rank} of {len(started)} {_describe(code)}; "
            "checkpoints are whole: go on with --resume"
        )
    return code if code > 0 else 128 - code


def _describe(code: int) -> str:
    if code > 0:
        return f"ended with exit code {code}"
    return f"was ended by {signal.Signals(-code).name}"
