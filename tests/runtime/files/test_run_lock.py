"""Locks: exactly one holds one, and the dead hold none."""

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
import threading
import time

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
        forge(path)
    started = [start(path, 3) for _ in range(6)]
    said = [process.communicate()[0] for process in started]
    assert said.count("held\n") == 1
    assert sum("in use by process" in text for text in said) == 5


def test_who_locks_a_file_that_its_holder_has_just_deleted_holds_nothing(tmp_path, monkeypatch):
    path, real, times = tmp_path / "lock", fcntl.flock, []

    def late(file, how):
        times.append(how)
        if len(times) == 1:
            path.unlink()
        real(file, how)

    monkeypatch.setattr("seqtrans.runtime.files.run_lock.fcntl.flock", late)
    with locked(path, "the run"):
        assert path.is_file()
        with pytest.raises(LockedError, match="in use"), locked(path, "the run"):
            pass
    assert len(times) == 3


def test_locks_of_other_hosts_stand_but_for_the_same_job(tmp_path):
    """Their kernel may be the only one that knows whether they are held."""
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
    with start(path, 60) as process:
        assert process.stdout.readline() == "held\n"
        path.write_text(json.dumps({**json.loads(path.read_text()), "pid": 2**22 + 1}))
        with pytest.raises(LockedError, match="in use by process 4194305"), locked(path, "the run"):
            pass
        process.kill()
    with locked(path, "the run"):
        pass
    assert not path.exists()


@pytest.mark.parametrize("host", ["here", "elsewhere"])
def test_a_living_process_keeps_it_also_in_the_same_job(tmp_path, monkeypatch, host):
    """One on another host may be gone, which a server notices late, so it is waited for."""
    path = tmp_path / "lock"
    with start(path, 60) as process:
        assert process.stdout.readline() == "held\n"
        changes = {"job": "nightly"} | ({"host": host} if host == "elsewhere" else {})
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
        monkeypatch.setattr("seqtrans.runtime.files.run_lock.LEASE", 0.5)
        began = time.monotonic()
        with pytest.raises(LockedError), locked(path, "the run", job="nightly"):
            pass
        assert (time.monotonic() - began > 0.5) is (host == "elsewhere")
        monkeypatch.setattr("seqtrans.runtime.files.run_lock.LEASE", 60.0)
        if host == "elsewhere":
            threading.Timer(0.5, process.kill).start()
            with locked(path, "the run", job="nightly"):
                pass
        process.kill()


@pytest.mark.parametrize("content", ["", '{"ho', '{"host": "some', '{"host": "some", "pid": 1'])
def test_what_was_left_when_a_host_died_over_taking_it_is_no_lock(tmp_path, content):
    path = tmp_path / "lock"
    path.write_text(content)
    with locked(path, "the run"):
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["{}", "[1]", "null", '{"host": 1}', "\0" * 9])
def test_a_file_that_is_no_lock_is_named(tmp_path, content):
    path = tmp_path / "lock"
    path.write_text(content)
    with pytest.raises(LockedError, match=r"names no process.* delete"), locked(path, "the run"):
        pass
    assert path.read_text() == content


def test_where_there_are_no_locks_the_file_alone_stands_for_one(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr("seqtrans.runtime.files.run_lock.fcntl.flock", refuse)
    path = tmp_path / "lock"
    with locked(path, "the run", job="nightly"):
        stands = pytest.raises(LockedError, match=f"if that is gone, delete {path}")
        with stands, locked(path, "the run"):
            pass
        content = path.read_text()
    assert not path.exists()
    path.write_text(content)
    with locked(path, "the run", job="nightly"):
        pass


def test_who_lost_the_lock_does_not_take_another_ones_away(tmp_path):
    path = tmp_path / "lock"
    with locked(path, "the run"):
        path.unlink()
        path.write_text("another")
    assert path.read_text() == "another"
