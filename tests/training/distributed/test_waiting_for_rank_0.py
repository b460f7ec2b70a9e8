"""Processes that prepare wait for each other without limit, but for none that is lost."""

import ctypes
import os
import re
import signal
import subprocess
import time

import pytest

from seqtrans.errors import DataError
from seqtrans.training.distributed.failure_reports import (
    KEY_EXITED,
    in_contact,
    shared_store,
    should_report,
)
from seqtrans.training.distributed.process_group import patient
from tests.support.processes import meet

pytestmark = pytest.mark.processes

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


def _prepare(group, folder, fate):
    try:
        with in_contact(group, lambda: "preparing"), patient(group, SECONDS, "work") as waiting:
            assert waiting.sum([group.rank]) == (3.0,)
            if fate in FATES and group.rank == VICTIM:
                _meet_with(fate, folder)
            elif fate == "one works for long" and group.rank == VICTIM:
                time.sleep(LONG)
            elif fate == "all are stopped for long":
                _later(f"sleep {LONG}; kill -CONT {os.getpid()}")
                os.kill(os.getpid(), signal.SIGSTOP)
            assert waiting.gather(str(group.rank)) == ["0", "1", "2"]
    except Exception as error:
        if should_report(error):
            (folder / f"said-{group.rank}").write_text(f"{type(error).__name__}: {error}")
        os._exit(REPORTED)
    assert group.sum([1.0]) == (3.0,)


def _later(command):
    subprocess.Popen(["sh", "-c", command])  # noqa: S607


def _meet_with(fate, folder):
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
        shared_store().set(f"{KEY_EXITED}/{VICTIM}", "SIGKILL")
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.faults
@pytest.mark.parametrize("fate", FATES)
def test_where_one_is_lost_all_end_and_one_says_so(tmp_path, fate):
    began = time.monotonic()
    codes = meet(_prepare, tmp_path, WORLD, fate)
    assert [codes[0], codes[2]] == [REPORTED] * 2
    (said,) = [file.read_text() for file in tmp_path.glob("said-*")]
    assert re.match(FATES[fate], said), said
    assert "too long" not in said or time.monotonic() - began > SECONDS


@pytest.mark.parametrize("fate", ["one works for long", "all are stopped for long"])
def test_work_and_a_pause_of_all_are_no_failures(tmp_path, fate):
    assert meet(_prepare, tmp_path, WORLD, fate) == [0] * WORLD
    assert not list(tmp_path.glob("said-*"))
