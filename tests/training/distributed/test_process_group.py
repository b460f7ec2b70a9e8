"""Real processes over gloo: what they tell each other, and who speaks when one is gone."""

import os
import signal
import time

import pytest
import torch

from seqtrans.errors import TrainingError
from seqtrans.training.distributed import failure_reports as contact
from seqtrans.training.distributed.process_group import TorchProcessGroup
from seqtrans.training.distributed.single_process import SINGLE_PROCESS
from tests.support.processes import meet

pytestmark = pytest.mark.processes

TEXTS = ["", "Grüße\n", "x" * 1000]


def _gather(group, _folder):
    assert group.gather(TEXTS[group.rank]) == TEXTS
    assert group.sum([group.rank, 0.5]) == (3.0, 1.5)


def test_texts_of_all_processes_are_gathered_by_rank(tmp_path):
    assert meet(_gather, tmp_path, 3) == [0, 0, 0]


def _lose(group, folder, how):
    group.sum([1.0])
    if group.rank == 1:
        _fail(group, how, folder)
    with pytest.raises(RuntimeError) as caught:
        group.sum([1.0])
    assert contact.is_lost_contact(caught.value)
    complaint = contact.lost(caught.value, group, "step 3, while it counted")
    if contact.should_report(complaint, group):
        (folder / f"{group.rank}").write_text(str(complaint))
    os._exit(2)  # none is left to meet


def _said(folder):
    return [file.read_text() for file in folder.iterdir() if file.name.isdecimal()]


def _fail(group, how, folder):
    if how == "is killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "hangs":
        while not _said(folder):
            time.sleep(0.1)
        os._exit(4)
    else:
        assert contact.should_report(TrainingError("its own"), group)
        os._exit(3)


@pytest.mark.faults
@pytest.mark.parametrize("how", ["is killed", "hangs"])
def test_of_those_that_wait_one_says_for_whom_and_where(tmp_path, how):
    codes = meet(_lose, tmp_path, 3, how, patience=3 if how == "hangs" else 60)
    assert [codes[0], codes[2]] == [2, 2]
    (said,) = _said(tmp_path)
    assert "step 3, while it counted: process" in said
    assert f"waited {'too long' if how == 'hangs' else 'in vain'} for process 1 of 3;" in said


def test_when_one_fails_and_says_why_the_others_are_silent(tmp_path):
    assert meet(_lose, tmp_path, 3, "fails") == [2, 3, 2]
    assert not _said(tmp_path)


class Gpu:
    """What a GPU has been asked to do, as an event of CUDA tells: ready at the third look, or not.

    Attributes:
        looks: At it so far.
    """

    looks = 0

    def __init__(self, *, is_stuck):
        self.is_stuck = is_stuck

    def record(self):
        self.looks = 0

    def query(self):
        self.looks += 1
        return self.looks >= 3 and not self.is_stuck


@pytest.mark.parametrize("is_stuck", [False, True])
def test_a_gpu_that_waits_for_other_processes_is_not_waited_for_without_end(monkeypatch, is_stuck):
    gpu = Gpu(is_stuck=is_stuck)
    monkeypatch.setattr(torch.cuda, "Event", lambda: gpu)
    group = TorchProcessGroup(0, 2, patience=0.2)
    device = torch.device("cuda")
    if not is_stuck:
        group.await_device(device)
        assert gpu.looks == 3
        return
    began = time.monotonic()
    with pytest.raises(RuntimeError) as caught:
        group.await_device(device)
    assert time.monotonic() - began >= 0.2
    assert contact.is_lost_contact(caught.value)
    complaint = str(contact.lost(caught.value, group, "step 3"))
    assert complaint.startswith("step 3: process 0 waited too long for another process; ")
    for alone in (SINGLE_PROCESS, TorchProcessGroup(0, 2, patience=0.0)):
        alone.await_device(torch.device("cpu") if alone.world_size == 2 else device)
