"""Processes that prepare wait for each other without limit, but for none that is lost."""

import ctypes
import os
import re
import signal
import subprocess
import time
from unittest import mock

import pytest
from torch.distributed import HashStore

from seqtrans.errors import DataError
from seqtrans.training.distributed.failure_reports import (
    KEY_EXITED,
    in_contact,
    is_lost_contact,
    should_report,
)
from seqtrans.training.distributed.rendezvous import Rendezvous
from tests.support.processes import meet

WORLD, VICTIM, SECONDS = 3, 1, 3.0
REPORTED = 3  # exit code
LONG = 2.5 * SECONDS
WAITED = r"LostContactError: preparing: process [02] waited {} for process 1 of 3{}; checkpoints"
FATES = {  # what befalls a process, and the one message that there is to be
    "is stopped": WAITED.format("too long", ""),
    "hangs": WAITED.format("too long", ""),
    "is killed": WAITED.format("too long", ""),
    "is killed near its launcher": WAITED.format("in vain", ", which was ended by SIGKILL"),
    "fails": "DataError: corpus is damaged",
}


def _prepare(processes, folder, fate):
    processes.patience = SECONDS
    try:
        with in_contact(processes, lambda: "preparing"):
            assert processes.once("first", lambda: f"of {processes.rank}") == "of 0"
            if fate in FATES and processes.rank == VICTIM:
                _meet_with(fate, processes, folder)
            elif fate == "one works for long" and processes.rank == VICTIM:
                time.sleep(LONG)
            elif fate == "the first works for long":
                assert processes.once("second", lambda: time.sleep(LONG)) == ""
            elif fate == "all are stopped for long":
                _later(f"sleep {LONG}; kill -CONT {os.getpid()}")
                os.kill(os.getpid(), signal.SIGSTOP)
            group = processes.join()
    except Exception as error:
        if should_report(error, processes):
            (folder / f"said-{processes.rank}").write_text(f"{type(error).__name__}: {error}")
        os._exit(REPORTED)
    assert group.gather(str(group.rank)) == ["0", "1", "2"]


def _later(command):
    subprocess.Popen(["sh", "-c", command])  # noqa: S607


def _meet_with(fate, processes, folder):
    if fate in ("is stopped", "hangs"):  # for the test to end, once the others have
        said = f"timeout 60 sh -c 'until ls {folder}/said-* 2>/dev/null; do sleep 0.2; done'"
        _later(f"{said}; sleep 3; kill -KILL {os.getpid()}")
    if fate == "is stopped":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif fate == "hangs":
        ctypes.PyDLL(None).sleep(100)  # without letting other threads of Python run
    elif fate == "fails":
        raise DataError("corpus is damaged")
    elif fate == "is killed near its launcher":
        processes.store.set(f"{KEY_EXITED}/{VICTIM}", "was ended by SIGKILL")
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.faults
@pytest.mark.parametrize("fate", FATES)
def test_where_one_is_lost_all_end_and_one_says_so(tmp_path, fate):
    began = time.monotonic()
    codes = meet(_prepare, tmp_path, WORLD, fate, joined=False)
    assert [codes[0], codes[2]] == [REPORTED] * 2
    (said,) = [file.read_text() for file in tmp_path.glob("said-*")]
    assert re.match(FATES[fate], said), said
    assert "too long" not in said or time.monotonic() - began > SECONDS


@pytest.mark.parametrize(
    "fate", ["one works for long", "the first works for long", "all are stopped for long"]
)
def test_work_and_a_pause_of_all_are_no_failures(tmp_path, fate):
    assert meet(_prepare, tmp_path, WORLD, fate, joined=False) == [0] * WORLD
    assert not list(tmp_path.glob("said-*"))


def _once_per_host(processes, _folder):
    """Two on one machine, one on another."""
    host, local = (("a", 0), ("a", 1), ("b", 0))[processes.rank]
    os.environ["LOCAL_RANK"] = str(local)
    with mock.patch("socket.gethostname", return_value=host):
        found = processes.once("it", lambda: f"{host}, by {processes.rank}", per_host=True)
    assert found == ("a, by 0", "a, by 0", "b, by 2")[processes.rank]
    processes.join()


def test_of_each_machine_the_first_works_for_all(tmp_path):
    assert meet(_once_per_host, tmp_path, WORLD, joined=False) == [0] * WORLD


def test_one_process_waits_for_nobody():
    alone = Rendezvous()
    alone.meet("somewhere")
    assert alone.once("it", lambda: "done") == "done"
    assert alone.once("it", lambda: None, per_host=True) == ""
    assert alone.join().world_size == 1


class Store(HashStore):
    """A key-value store that does something odd whenever it is asked for a key."""

    def __init__(self, oddity):
        super().__init__()
        self.oddity = oddity

    def check(self, keys):
        self.oddity()
        return super().check(keys)

    def clone(self):
        return self


def refuse():
    raise RuntimeError("Connection reset by peer")


@pytest.mark.parametrize("oddity", [lambda: time.sleep(3), refuse])
def test_without_its_store_a_process_does_not_wait(oddity):
    processes = Rendezvous(0, 2, Store(oddity))
    processes.patience = 0.5
    with pytest.raises(RuntimeError, match="the store does not answer") as caught:
        processes.meet("somewhere")
    assert is_lost_contact(caught.value)
