"""Files that appear whole or not at all, whoever else writes them."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from seqtrans.runtime.files import atomic_files as files
from seqtrans.runtime.files.atomic_files import open_aside, sweep, write_atomically


def names(folder):
    return sorted(os.listdir(folder))  # noqa: PTH208 - names, also those that are not UTF-8


def test_of_two_that_write_one_file_each_writes_all_of_it_and_the_last_stays(tmp_path):
    path = tmp_path / "out"
    with open_aside(path) as first:
        first.write(b"first ")
        with open_aside(path) as second:
            second.write(b"second")
        assert path.read_bytes() == b"second"
        first.write(b"and more")
    assert path.read_bytes() == b"first and more"
    assert names(tmp_path) == ["out"]


WRITE_AND_WAIT = """
import sys
from pathlib import Path
from seqtrans.runtime.files.atomic_files import open_aside
with open_aside(Path(sys.argv[1])) as file:
    file.write(b'half')
    file.flush()
    print('written', flush=True)
    sys.stdin.read()
"""


def writer(path):
    """Another process that has written half of a file."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITE_AND_WAIT, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"written\n"
    return process


@pytest.mark.parametrize("name", ["out", "a.b.txt", "x" * 255, "ü" * 127, "bad\udcff"])
def test_what_a_killed_process_left_goes_when_the_file_is_written_again(tmp_path, name):
    path = tmp_path / name
    killed, alive = writer(path), writer(path)
    with killed, alive:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert len(names(tmp_path)) == 2
        write_atomically(path, "whole")
        assert len(names(tmp_path)) == 2  # this file, and what the living one writes aside
        assert path.read_bytes() == b"whole"
        alive.stdin.close()
    assert path.read_bytes() == b"half"
    assert names(tmp_path) == [name]


def test_what_another_host_writes_is_left_for_a_day(tmp_path, monkeypatch):
    path = tmp_path / "out"
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(files, "_host", lambda: "elsewhere")
        with writer(path) as killed:
            killed.kill()
        (left,) = tmp_path.iterdir()
        left = left.rename(tmp_path / ".out.elsewhere.1234.partial")
    old = tmp_path / ".out.partial"  # as earlier versions called it
    old.touch()
    sweep(path)
    assert names(tmp_path) == [left.name]
    os.utime(left, (0, 0))
    sweep(path)
    assert names(tmp_path) == []


def test_files_swept_before_they_are_locked_are_made_again(tmp_path):
    """Many at once, each of which looks for what others left."""
    path = tmp_path / "out"
    failures = []

    def write(number):
        try:
            for _ in range(40):
                write_atomically(path, f"{number}" * 9)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert path.read_text() in {f"{number}" * 9 for number in range(6)}
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o755])
def test_what_is_replaced_keeps_its_permissions(tmp_path, mode):
    path = tmp_path / "out"
    path.write_text("before")
    path.chmod(mode)
    write_atomically(path, "after")
    assert path.stat().st_mode & 0o777 == mode
    assert path.read_text() == "after"


def test_a_new_file_has_the_permissions_of_any_other(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "out", "")
    finally:
        os.umask(before)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_stays_a_link(tmp_path, exists):
    (tmp_path / "disk").mkdir()
    target = tmp_path / "disk" / "target"
    if exists:
        target.write_text("before")
    link = tmp_path / "out"
    link.symlink_to("disk/target")
    write_atomically(link, "after")
    assert link.is_symlink()
    assert target.read_text() == "after"
    assert names(tmp_path / "disk") == ["target"]


def test_after_an_error_all_is_as_it_was(tmp_path):
    path = tmp_path / "out"
    path.write_text("before")
    with pytest.raises(KeyboardInterrupt), open_aside(path) as file:  # noqa: PT012
        file.write(b"after")
        raise KeyboardInterrupt
    assert path.read_text() == "before"
    assert names(tmp_path) == ["out"]


def test_an_error_names_the_file_and_not_what_is_written_aside(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        write_atomically(tmp_path / "no" / "out", "")
    assert error.value.filename == str(tmp_path / "no" / "out")
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError) as error:
        write_atomically(tmp_path / "folder", "")
    assert error.value.filename == str(tmp_path / "folder")
    assert names(tmp_path) == ["folder"]
