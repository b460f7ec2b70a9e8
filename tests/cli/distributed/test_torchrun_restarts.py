"""Under ``torchrun --max-restarts`` what is killed goes on, to the weights of the undisturbed."""

import os
import random
import signal
import sys

import pytest
import torch

from tests.support.torchrun import (
    ELASTIC,
    Torchrun,
    last_step,
    tensors,
    train,
    wait_until,
    write_corpus,
)

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc"),
]
LOCAL = ("--standalone", "--nproc-per-node", "2")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "r.yaml").write_text(ELASTIC)
    write_corpus(tmp_path)
    return tmp_path


def test_killed_workers_are_replaced_and_the_weights_are_those_of_the_undisturbed(folder):
    train(folder, "--run", "undisturbed", "--devices", 2)
    run, chance = folder / "run", random.Random(7)  # noqa: S311 - not for secrets
    # What --set changes is in the run's recipe, and does not keep it from going on.
    changed = ("--run", "run", "--set", "training.checkpoints.every_steps=5")
    job = Torchrun(folder, (*LOCAL, "--max-restarts", "2"), changed)
    for victim in (1, 0):
        goal = last_step(run) + chance.randint(5, 40)
        wait_until(lambda goal=goal: last_step(run) >= goal, job)
        workers = job.workers()
        assert len(workers) == 2
        os.kill(workers[victim], signal.SIGKILL)
        wait_until(lambda old=workers: len(set(job.workers()) - set(old)) == 2, job)
    assert job.wait() == 0, job.text
    found, expected = tensors(run), tensors(folder / "undisturbed")
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
    assert len(job.complaints) == 2, job.text  # one for each that was killed
    assert not (run / "lock").exists()


def test_another_run_in_the_folder_is_left_alone(folder):
    """The first attempt is refused, and those that replace it do not go on with it either."""
    train(folder, "--run", "run", "--set", "training.max_steps=3")
    before = (folder / "run" / "metrics.jsonl").read_bytes()
    job = Torchrun(folder, (*LOCAL, "--max-restarts", "1"), ["--run", "run"])
    assert job.wait() != 0
    assert len(job.complaints) == 2, job.text
    assert all("run exists already" in line for line in job.complaints)
    assert (folder / "run" / "metrics.jsonl").read_bytes() == before
