"""Processes of a run before they form a group: each prepares, for as long as it takes.

One may train a vocabulary for hours while the others have nothing to do, so no limit of time could
tell work from a failure. Instead a thread of every process counts in the launcher's key-value
store, and those that wait give up whoever no longer counts. The thread ends no process: what works
learns of a failure when it next waits.
"""

import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from seqtrans.training.distributed.failure_reports import (
    KEY_REPORTED,
    AbsentError,
    ElsewhereError,
    LostContactError,
    answer,
    attempt_store,
    end_of,
    in_contact,
)
from seqtrans.training.distributed.process_group import PATIENCE, TorchProcessGroup
from seqtrans.training.distributed.restarts import job, name_attempt
from seqtrans.training.distributed.single_process import SINGLE_PROCESS

WATCHDOG = 30.0
"""Seconds that nccl waits longer for the others than we do: its watchdog, having waited too long,
ends the process without a word about where that was."""
_INTERVAL = 0.5  # seconds between two signs of life
_GLANCE, _PAUSE = 0.01, 0.5  # seconds until one that waits looks again, at first and later on


class Rendezvous:
    """This process among those of a run that have not joined yet; make it by ``connect``.

    Args:
        rank: Number of this process.
        world_size: How many there are.
        store: Key-value store that they share; None: there is one process.
        job: What processes that replace each other have in common; see ``restarts.job``.

    Attributes:
        patience: Seconds without a sign of life after which a process is lost; and, in the group
            that they join, seconds to wait for the others.
    """

    def __init__(
        self, rank: int = 0, world_size: int = 1, store: Any = None, job: str = ""
    ) -> None:
        self.rank, self.world_size, self.store, self.job = rank, world_size, store, job
        self.patience = PATIENCE
        self._lives = [f"seqtrans/life/{other}" for other in range(world_size)]
        self._is_over = threading.Event()
        self._life = threading.Thread(target=self._live, daemon=True, name="signs of life")
        if store is not None:
            self._life.start()

    def once(self, name: str, work: Callable[[], str | None], *, per_host: bool = False) -> str:
        """Let the first process do something and tell the others what it returns.

        Every process must call it; the others wait for as long as all are alive.

        Args:
            name: Of what is done, unlike any other.
            work: What to do.
            per_host: Let the first process of every machine do it for the others there.

        Raises:
            RuntimeError: A process is gone or silent, or the store is; see ``in_contact``.
            ElsewhereError: Another process has failed and said why.
        """
        if self.store is None:
            return work() or ""
        is_first = int(os.environ.get("LOCAL_RANK", "0")) == 0 if per_host else self.rank == 0
        key = f"seqtrans/{name}/{socket.gethostname() if per_host else ''}"
        if not is_first:
            return self._await(key)
        result = work() or ""
        self.store.set(key, result)
        return result

    def meet(self, name: str) -> None:
        """Wait until all processes have come here, for as long as all are alive.

        Args:
            name: Of the place, unlike any other.

        Raises:
            RuntimeError: See ``once``.
            ElsewhereError: See ``once``.
        """
        if self.store is None:
            return
        keys = [f"seqtrans/{name}/{rank}" for rank in range(self.world_size)]
        self.store.set(keys[self.rank], "")
        for key in keys:
            self._await(key)

    def join(self) -> TorchProcessGroup:
        """Meet the others, and form the group in which all train.

        Tensors on the CPU travel by gloo, those on CUDA devices by nccl.

        Raises:
            RuntimeError: See ``once``.
            ElsewhereError: See ``once``.
        """
        if self.store is None:
            return SINGLE_PROCESS
        self.meet("join")
        self.close(self.patience)
        has_gpu = torch.cuda.is_available()
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if has_gpu else "gloo",
            store=self.store,
            rank=self.rank,
            world_size=self.world_size,
            timeout=timedelta(seconds=self.patience + WATCHDOG * has_gpu),
        )
        return TorchProcessGroup(self.rank, self.world_size, self.patience, self.store)

    def close(self, seconds: float = 5.0) -> None:
        """Give no more signs of life, so that no thread runs while the interpreter ends.

        Args:
            seconds: Wait at most so long for the thread, where the store does not answer.
        """
        self._is_over.set()
        if self._life.is_alive():
            self._life.join(seconds)

    def _live(self) -> None:
        # A store that does not answer may do so again; if it is gone, those that wait find out.
        while not self._is_over.wait(min(_INTERVAL, self.patience / 10)):
            with suppress(RuntimeError):
                store = self.store.clone()  # other threads may keep the original for long
                store.add(self._lives[self.rank], 1)
                while not self._is_over.wait(min(_INTERVAL, self.patience / 10)):
                    store.add(self._lives[self.rank], 1)

    def _await(self, key: str) -> str:
        """Return what another process sets, once it is there."""
        counts, silent = [0] * self.world_size, [0.0] * self.world_size
        last, pause, unanswered = time.monotonic(), _GLANCE, 0
        while unanswered < 2:  # once it can be that this process was stopped amid a question
            seen = answer(partial(self._look, key), self.patience / 2)
            unanswered = unanswered + 1 if seen is None else 0
            if seen is None:
                continue
            text, failure, new_counts = seen
            if text is not None:
                return text
            if failure is not None:
                raise failure
            # Time in which this process was stopped does not count: maybe all were.
            now = time.monotonic()
            lap, last = min(now - last, 2 * _PAUSE), now
            for rank, count in enumerate(new_counts):
                is_silent = count == counts[rank] and rank != self.rank
                silent[rank] = silent[rank] + lap if is_silent else 0.0
            counts = new_counts
            if lost := [rank for rank, seconds in enumerate(silent) if seconds > self.patience]:
                raise AbsentError("a sign of life timed out", dict.fromkeys(lost, ""))
            time.sleep(pause)
            pause = min(_PAUSE, self.patience / 10, 1.5 * pause)
        raise dist.DistError("the store does not answer")

    def _look(self, key: str) -> tuple[str | None, Exception | None, list[int]]:
        """Return a text if it is there; a failure; how often each process has counted."""
        text = self.store.get(key).decode() if self.store.check([key]) else None
        ends = {rank: end_of(self.store, rank) for rank in range(self.world_size)}
        failure = None
        if ended := {rank: end for rank, end in ends.items() if end}:
            failure = AbsentError("they have ended", ended)
        elif self.store.check([KEY_REPORTED]):
            failure = ElsewhereError("another process failed; see its message")
        return text, failure, [self.store.add(life, 0) for life in self._lives]


ALONE = Rendezvous()


def connect(init_method: str = "env://") -> Rendezvous:
    """Meet the processes that a launcher such as ``torchrun`` started with this one.

    The launcher tells through ``RANK`` and ``WORLD_SIZE``; without them there is one process.

    Raises:
        LostContactError: Some have not come.
    """
    if "WORLD_SIZE" not in os.environ:
        return Rendezvous()
    world_size = int(os.environ["WORLD_SIZE"])
    if world_size == 1:
        return Rendezvous(job=job())
    rank = int(os.environ["RANK"])
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    with in_contact(TorchProcessGroup(rank, world_size), lambda: "starting"):
        try:
            store, _, _ = next(iter(rendezvous(init_method, rank, world_size)))
            store = attempt_store(store, name_attempt(store, rank, world_size, PATIENCE))
        except TimeoutError as error:
            raise LostContactError(
                f"starting: process {rank} waited too long for {error}; "
                "checkpoints are whole: go on with --resume"
            ) from error
    return Rendezvous(rank, world_size, store, job())
