"""``seqtrans train --devices``: the weights of one process, and one message when one is gone."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from seqtrans.runtime.files.run_lock import locked
from seqtrans.training.distributed import launch as launching
from tests.support.command_line import RECIPE as TEXT
from tests.support.image_recipe import RECIPE as IMAGES
from tests.support.torchrun import start, train

pytestmark = pytest.mark.processes

SETTINGS = ["training.accumulate=2", "training.optimizer={kind: sgd, learning_rate: 0.05}"]
MANY_STEPS = "training.max_steps=90000"


def settings(*more):
    return [part for setting in (*SETTINGS, *more) for part in ("--set", setting)]


@pytest.fixture
def images(tmp_path):
    (tmp_path / "r.yaml").write_text(IMAGES)
    return tmp_path


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "r.yaml").write_text(TEXT)
    for split, count in (("train", 120), ("dev", 10)):
        lines = [f"{'abcdefg'[n % 7]} {'hijk'[n % 4]} {'lmn'[n % 3]}" for n in range(count)]
        (tmp_path / f"{split}.src").write_text("".join(f"{line}\n" for line in lines))
        (tmp_path / f"{split}.tgt").write_text("".join(f"{line[::-1]}\n" for line in lines))
    return tmp_path


def last_weights(run):
    name = (run / "checkpoints" / "last").read_text().strip()
    return name, load_file(run / "checkpoints" / name / "model.safetensors")


def test_a_run_of_two_goes_on_alone_and_ends_as_one_that_was_always_alone(folder):
    train(folder, "--run", "alone", *settings("training.max_steps=12"))
    wanted = settings("training.max_steps=8", "training.processes.sharding=full")
    said = train(folder, "--run", "run", "--devices", 2, "--tensorboard", *wanted)
    assert re.search(r"shared out to 2 processes.*largest batch", said, re.DOTALL)
    assert "Warning" not in said
    assert len(list((folder / "run" / "tensorboard").iterdir())) == 1
    assert said.count("max_steps reached") == 1
    stored = folder / "run" / "recipe.yaml"
    stored.write_text(stored.read_text().replace("max_steps: 8", "max_steps: 12"))
    train(folder, "--run", "run", "--resume")
    name, found = last_weights(folder / "run")
    expected_name, expected = last_weights(folder / "alone")
    assert name == expected_name
    torch.testing.assert_close(found, expected, rtol=0.0, atol=2e-5)  # of fp32, added otherwise


def test_what_all_processes_see_is_warned_of_once(folder):
    warned = "training.schedule={kind: constant, warmup_steps: 90}"
    (folder / "dev.src").write_text("\u4e16\u754c a h l\n" * 10)
    wanted = settings("training.max_steps=1", warned)
    said = train(folder, "--run", "run", "--devices", 2, *wanted)
    assert said.count("warmup_steps 90 is all of this training") == 1
    lines = [line for line in said.splitlines() if "Gloo" not in line]
    assert len(lines) == len(set(lines))


def test_more_processes_than_micro_batches_are_refused_before_there_is_a_run(images):
    process = start(images, "--run", "run", "--devices", 2)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 2
    (complaint,) = [line for line in said.splitlines() if "Gloo" not in line]
    assert "2 processes can't share 1 micro-batches an update; set training.accumulate" in complaint
    assert not (images / "run").exists()


def _children(pid):
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.faults
@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
def test_when_one_process_is_killed_all_end_with_one_message(images):
    launcher = start(images, "--run", "run", "--devices", 2, *settings(MANY_STEPS))
    deadline = time.monotonic() + 100
    metrics = images / "run" / "metrics.jsonl"
    while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.05)
    workers = _children(launcher.pid)
    assert len(workers) == 2
    os.kill(workers[1], signal.SIGKILL)
    said = launcher.communicate(timeout=60)[1]
    assert launcher.returncode not in (0, None)
    complaints = [line for line in said.splitlines() if line.startswith("seqtrans: ")]
    assert len(complaints) == 1, said
    assert "process 1 of 2" in complaints[0]
    assert "--resume" in complaints[0]
    assert "SIGKILL" in complaints[0]
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)


LATE = """
import atexit, os
class Late:
    def __del__(self, write=os.write):
        write(2, b"late ")
late = Late()
atexit.register(os.write, 2, b"at exit ")
"""


@pytest.mark.parametrize(("world", "said"), [("2", b"at exit "), ("1", b"at exit late ")])
def test_of_several_processes_none_waits_for_the_interpreter_to_end(
    tmp_path, monkeypatch, world, said
):
    """Threads of gloo that torch's caches keep alive abort it now and then, in 1 of 20 runs."""
    (tmp_path / "sitecustomize.py").write_text(LATE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("WORLD_SIZE", world)
    command = [sys.executable, "-m", "seqtrans", "show", "nothing"]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 2
    assert done.stderr.partition(b"\n")[2] == said


SLOW = """
import os, signal, time
import seqtrans.images.recipe.prepare as it, seqtrans.training.distributed.launch as launching
launching.GRACE = {grace}
load = it.load_image_sets
def slow(*arguments):
    if os.environ.get("RANK") == "1":
        {deed}
    return load(*arguments)
it.load_image_sets = slow
"""


@pytest.mark.faults
@pytest.mark.parametrize("deed", ["os.kill(os.getpid(), signal.SIGSTOP)", "time.sleep(10)"])
def test_while_preparing_only_the_silent_are_given_up(images, tmp_path, monkeypatch, deed):
    (tmp_path / "sitecustomize.py").write_text(SLOW.format(deed=deed, grace=1.0))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    wait = settings("training.max_steps=1", "training.processes.timeout_seconds=4")
    launcher = start(images, "--run", "run", "--devices", 2, *wait)
    said = launcher.communicate(timeout=100)[1]
    complaints = [line for line in said.splitlines() if line.startswith("seqtrans: ")]
    if "sleep" in deed:
        assert (launcher.returncode, complaints) == (0, []), said
        return
    assert launcher.returncode == 2, said
    assert [line.split(";")[0] for line in complaints] == [
        "seqtrans: preparing the run: process 0 waited too long for process 1 of 2"
    ], said
    assert not (tmp_path / "run").exists()  # so that the next try can use the name


@pytest.mark.faults
def test_a_process_that_exits_silently_while_preparing_is_reported(images, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(SLOW.format(deed="os._exit(3)", grace=20.0))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    one_step = settings("training.max_steps=1")
    launcher = start(images, "--run", "run", "--devices", 2, *one_step)
    said = launcher.communicate(timeout=100)[1]
    assert launcher.returncode == 3, said
    complaints = [line for line in said.splitlines() if line.startswith("seqtrans: ")]
    assert [line.split(";")[0] for line in complaints] == [
        "seqtrans: preparing the run: process 0 waited in vain for process 1 of 2, which ended "
        "with exit code 3"
    ], said
    assert not (tmp_path / "run").exists()


def test_a_run_that_another_process_trains_is_left_alone(images):
    train(images, "--run", "run", *settings("training.max_steps=2"))
    before = (images / "run" / "metrics.jsonl").read_bytes()
    with locked(images / "run" / "lock", "it"):
        for devices in (1, 2):
            process = start(images, "--run", "run", "--resume", "--devices", devices)
            said = process.communicate(timeout=launching.GRACE)[1]  # none had to be killed
            assert process.returncode == 2
            complaints = [line for line in said.splitlines() if "Gloo" not in line]
            assert len(complaints) == 1, said
            assert f"run run is in use by process {os.getpid()} on" in said
    assert (images / "run" / "metrics.jsonl").read_bytes() == before
