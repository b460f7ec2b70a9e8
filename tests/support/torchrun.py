"""Trainings under ``torchrun``, the processes of which tests look for and end."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from safetensors.torch import load_file

from tests.support.command_line import RECIPE
from tests.support.cpu_time import descendants

PATIENCE = 150  # seconds; a busy machine needs many to start a process


def write_corpus(folder):
    for split, count in (("train", 120), ("dev", 10)):
        lines = [f"{'abcdefg'[n % 7]} {'hijk'[n % 4]} {'lmn'[n % 3]}" for n in range(count)]
        (folder / f"{split}.src").write_text("".join(f"{line}\n" for line in lines))
        (folder / f"{split}.tgt").write_text("".join(f"{line[::-1]}\n" for line in lines))


class Torchrun:
    """A ``torchrun`` that trains ``r.yaml`` in a folder; its launcher is one process, or is in one.

    Args:
        folder: Where.
        options: Of torchrun.
        arguments: Of ``seqtrans train``, after the recipe.
        within: A command that runs a command, as on another host.
        environment: Variables beside those of this process.
    """

    def __init__(self, folder, options, arguments, within=(), **environment):
        command = [*within, sys.executable, "-m", "torch.distributed.run", *options]
        command += ["-m", "--", "seqtrans", "train", "r.yaml", *map(str, arguments)]
        self.said = folder / f"said-{len(list(folder.glob('said-*')))}"
        with self.said.open("w") as file:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    @property
    def text(self):
        return self.said.read_text()

    @property
    def complaints(self):
        """What seqtrans had to say."""
        return [line for line in self.text.splitlines() if line.startswith("seqtrans: ")]

    def workers(self):
        """Ids of the processes that train, by local rank."""
        found = descendants(self.process.pid)
        return sorted((pid for pid in found if b"LOCAL_RANK=" in environ(pid)), key=local_rank)

    def end(self):
        """Kill all of its processes, as when the power of a host fails."""
        for pid in [self.process.pid, *descendants(self.process.pid)]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def wait(self):
        """The exit code."""
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.end()
            raise AssertionError(f"has not ended, but said: {self.text}") from None


def environ(pid):
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def local_rank(pid):
    return int(environ(pid).partition(b"\0LOCAL_RANK=")[2].partition(b"\0")[0] or -1)


def last_step(run):
    """The newest step in the log of a run; -1: none yet."""
    try:
        return json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["step"]
    except (OSError, IndexError, ValueError):
        return -1


def wait_until(is_so, *running):
    """Wait for something to become so while these trainings run."""
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        said = [one.text for one in running]
        assert time.monotonic() < deadline, f"nothing happens: {said}"
        assert all(one.process.poll() is None for one in running), f"ended too early: {said}"
        time.sleep(0.01)


def tensors(run):
    """All that the last checkpoint of a run holds, by file and name."""
    last = run / "checkpoints" / (run / "checkpoints" / "last").read_text().strip()
    return {
        f"{last.name}/{file.stem}/{name}": tensor
        for file in sorted(last.glob("*.safetensors"))
        for name, tensor in load_file(file).items()
    }


def start(folder, *arguments):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "seqtrans", "train", "r.yaml", *map(str, arguments)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def train(folder, *arguments):
    process = start(folder, *arguments)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 0, said
    return said


STEPS = 300


ELASTIC = (
    RECIPE.replace("max_steps: 12", f"max_steps: {STEPS}\n  accumulate: 2\n  ema_decay: 0.9")
    .replace("validate_every_steps: 4", "validate_every_steps: 50")
    .replace("log_every_steps: 4", "log_every_steps: 1")
    .replace("stopping: {metric: chrf}", "stopping: {metric: chrf, patience: null}")
    .replace("keep_last: 1", "keep_last: 1, every_steps: 7")
)
