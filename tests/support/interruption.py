"""Stop runs at random moments, let them go on, and compare what they end with."""

import json
import os
import random
import signal
import threading
import time
from dataclasses import replace
from typing import NamedTuple

import torch

from seqtrans.training.checkpoints.format import read_tensors
from seqtrans.training.optim.optimizer_config import ScheduleFreeAdamWConfig
from seqtrans.training.optim.schedule import ConstantConfig, InverseSquareRootConfig
from seqtrans.training.reporting.metric_window import TIMINGS
from tests.support.processes import processes
from tests.support.toy_training import all_state

HARD = {
    "dropout": 0.3,
    "ema_decay": 0.9,
    "clip_norm": 0.5,
    "schedule": InverseSquareRootConfig(warmup_steps=5),
    "validate_every_steps": 7,
    "log_every_steps": 5,
}


def hard_with(optimizer):
    """``HARD`` with an optimizer, as far as the two go together."""
    free = {"schedule": ConstantConfig(warmup_steps=5), "ema_decay": None}
    extra = free if isinstance(optimizer, ScheduleFreeAdamWConfig) else {}
    return {**HARD, "optimizer": optimizer, **extra}


def assert_same(first, second):
    found, expected = all_state(first), all_state(second)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name
    assert replace(first.state, seconds=0) == replace(second.state, seconds=0)


def history(run):
    """Lines of the log without what differs from run to run."""
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    return [
        {k: v for k, v in line.items() if k.removeprefix("train/") not in TIMINGS} for line in lines
    ]


class Moment(NamedTuple):
    """When and how a run is stopped: told in steps, so that no machine is too fast or too slow.

    Attributes:
        after: Steps that are taken first.
        delay: Then this many seconds pass, though no more than two further steps.
        signal: What the process sends to itself.
    """

    after: int
    delay: float
    signal: int

    def arm(self, trainer):
        """Let the trainer meet its moment."""
        thread = threading.Thread(target=self._strike, daemon=True)
        update, first = trainer.update, trainer.state.step + self.after

        def meet(micro_batches):
            if trainer.state.step == first:
                thread.start()
            elif trainer.state.step == first + 2:
                thread.join()
            update(micro_batches)

        trainer.update = meet

    def _strike(self):
        time.sleep(self.delay)
        os.kill(os.getpid(), self.signal)


def enough_steps(times):
    """How many a run needs to be stopped so often, however fast the machine is.

    Where it is stopped often, ``after`` is 0 or 1, so no stop lets it take more than 3 steps.
    """
    return max(40, 3 * times + 10)


def disturb(train, folder, draw, times):
    """Stop a run again and again, then let it end; the exit codes of the stopped processes.

    Args:
        train: Begins or resumes the run in a folder; called in processes of their own.
        folder: Of the run.
        draw: Gives the moment of the next stop.
        times: How often it is stopped at most; it may have come to its end before.
    """
    codes = []
    while not codes or codes[-1] != 0:
        moment = draw() if len(codes) < times else None
        process = processes.Process(target=train, args=(folder, moment))
        process.start()
        process.join(300)
        assert process.exitcode is not None
        codes.append(process.exitcode)
        process.close()
    return codes[:-1]


def kills(steps, times):
    """Draws the moments of so many kills, near enough that ``enough_steps`` are enough."""
    chance = random.Random(5)  # noqa: S311 - not for secrets

    def draw():
        after = chance.randrange(max(2, steps * 2 // 3 // times))
        return Moment(after, 0.02 * chance.random(), signal.SIGKILL)

    return draw


def files_of(run):
    """Every tensor that a run left behind."""
    return {
        f"{path.parent.name}/{path.name}/{name}": tensor
        for path in sorted(run.checkpoints.glob("*/*.safetensors"))
        for name, tensor in read_tensors(path.parent, path.stem).items()
    }
