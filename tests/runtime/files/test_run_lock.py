"""Locks: exactly one holds one, and the dead hold none."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from seqtrans.runtime.files.run_lock import LockedError, locked

HOLD = """
import sys, time
from pathlib import Path
from seqtrans.runtime.files.run_lock import LockedError, locked
try:
    with locked(Path(sys.argv[1]), "the run"):
        print("held", flush=True)
        time.sleep(float(sys.argv[2]))
except LockedError as error:
    print(error, flush=True)
"""


def start(path, seconds):
    command = [sys.executable, "-c", HOLD, str(path), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def forge(path, **changes):
    with locked(path, "it"):
        content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **changes}))


def test_it_goes_when_done(tmp_path):
    for _ in range(2):
        with locked(tmp_path / "lock", "the run"):
            assert (tmp_path / "lock").is_file()
        assert list(tmp_path.iterdir()) == []


def test_a_living_process_keeps_it_and_a_killed_one_does_not(tmp_path):
    path = tmp_path / "lock"
    with start(path, 60) as process:
        assert process.stdout.readline() == "held\n"
        message = f"the run is in use by process {process.pid} on {socket.gethostname()}"
        with pytest.raises(LockedError, match=message), locked(path, "the run"):
            pass
        assert path.is_file()
        process.kill()
    with locked(path, "the run"):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("leftover", [False, True])
def test_of_many_that_try_at_once_one_holds_it(tmp_path, leftover):
    path = tmp_path / "lock"
    if leftover:
        forge(path, pid=2**22 + 1)  # beyond any process
    started = [start(path, 3) for _ in range(6)]
    said = [process.communicate()[0] for process in started]
    assert said.count("held\n") == 1
    assert sum("in use by process" in text for text in said) == 5


def test_a_process_id_that_was_used_again_holds_nothing(tmp_path):
    path = tmp_path / "lock"
    if not Path("/proc/self/stat").exists():
        pytest.skip("this system does not tell when a process started")
    forge(path, started="another boot 1")
    with locked(path, "the run"):
        pass


def test_locks_of_other_hosts_stand_but_for_the_same_job(tmp_path):
    path = tmp_path / "lock"
    forge(path, host="elsewhere", job="nightly")
    complaint = f"in use by process .* on elsewhere; if that is gone, delete {path}"
    for job in ("", "weekly"):
        with pytest.raises(LockedError, match=complaint), locked(path, "the run", job=job):
            pass
    with locked(path, "the run", job="nightly"):
        pass
    assert not path.exists()


def test_of_another_container_the_kernel_tells_whether_the_process_is_there(tmp_path):
    """It has this host's name, but numbers of its own: here they are those of nobody."""
    path = tmp_path / "lock"
    if not Path("/proc/self/ns/pid").exists():
        pytest.skip("this system does not tell containers apart")
    there = {"container": "pid:[1]", "pid": 2**22 + 1, "job": "nightly"}
    with start(path, 60) as process:
        assert process.stdout.readline() == "held\n"
        path.write_text(json.dumps({**json.loads(path.read_text()), **there}))
        with pytest.raises(LockedError, match="in use by process 4194305"), locked(path, "the run"):
            pass
        process.kill()
    with locked(path, "the run"):
        pass
    assert not path.exists()
    path.write_text(json.dumps({"host": socket.gethostname(), "started": "", **there}))
    with locked(path, "the run"):
        pass


def test_a_living_process_of_this_host_keeps_it_also_in_the_same_job(tmp_path):
    path = tmp_path / "lock"
    with start(path, 60) as process:
        assert process.stdout.readline() == "held\n"
        path.write_text(json.dumps({**json.loads(path.read_text()), "job": "nightly"}))
        with pytest.raises(LockedError), locked(path, "the run", job="nightly"):
            pass
        process.kill()


@pytest.mark.parametrize("number", ["its own", "of nobody"])
def test_what_was_left_when_a_process_died_over_taking_it_goes(tmp_path, number):
    """As after a kill between giving the lock its name and taking its first one away."""
    path = tmp_path / "lock"
    pid = os.getpid() if number == "its own" else 2**22 + 1
    forge(path, pid=pid, started="another boot 1")
    content = path.read_text()
    (tmp_path / f".lock.{socket.gethostname()}.{pid}").hardlink_to(path)
    with locked(path, "the run"):
        assert json.loads(path.read_text())["pid"] == os.getpid()
        assert path.read_text() != content
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "{}", "[1]", "null", '{"host": 1}', "\0" * 9])
def test_a_file_that_is_no_lock_is_named(tmp_path, content):
    path = tmp_path / "lock"
    path.write_text(content)
    with pytest.raises(LockedError, match="names no process"), locked(path, "the run"):
        pass
    assert path.read_text() == content


def test_who_lost_the_lock_does_not_take_another_ones_away(tmp_path):
    path = tmp_path / "lock"
    with locked(path, "the run"):
        path.write_text("another")
    assert path.read_text() == "another"
