# ruff: noqa: F811, ARG001 - fixtures
"""Bulk jobs: the same bytes however many work, whoever is killed, and nothing done twice."""

import gzip
import json
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from seqtrans.runtime.files.run_lock import locked
from seqtrans.translation.bulk.job_directory import FOLDER
from seqtrans.translation.bulk.local_engine import WorkerProcess
from tests.support.trained_translator import home, run  # noqa: F401 - a fixture

pytestmark = pytest.mark.processes

LINES = [f"{'abcd'[n % 4]}{'dcba. '[n % 6]}{'ab' * (n % 3)} {n}" for n in range(60)]
ODD = "\ufeffab cd\r\n\r\n \t \na\rb\x00c\u2028d\ncarriage\r\r\n\ufeffmark\n漢字 🏳️‍🌈\nab cd"


def start(folder, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "seqtrans", "translate", "run", *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


@pytest.fixture(scope="module")
def files(home):
    """Inputs of all kinds, and the job of one process that the others are held against."""
    (home / "many.txt").write_text("".join(f"{line}\n" for line in LINES))
    (home / "odd.txt").write_bytes(ODD.encode())
    (home / "empty.txt").write_bytes(b"")
    (home / "packed.txt.gz").write_bytes(
        gzip.compress("".join(f"{x}\n" for x in LINES[:5]).encode())
    )
    names = ["many.txt", "odd.txt", "empty.txt", "packed.txt.gz"]
    code, said = run(
        home, "translate", "run", *names, "-o", "one", "--workers", 1, "--shard-lines", 4
    )
    assert code == 0, said
    return names


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def complete(home, folder):
    """Whether a job's output is that of one process, with nothing left of the work."""
    left = [path for path in (home / folder / FOLDER).rglob("*") if path.is_file()]
    assert {p.name for p in left} <= {"plan.json", "0", "1", "2", "3"}
    return contents(home / folder) == contents(home / "one")


def parts(folder):
    return set((folder / FOLDER / "parts").glob("[0-9]*"))


def wait_for(condition, seconds=90):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def children(pid):
    """Processes that any thread of one started."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(n) for of_thread in lists for n in of_thread.read_text().split()]


def translating(folder):
    """Processes that translate for a job, whatever started them."""
    mark = str(folder / FOLDER).encode()
    return [pid for pid, name in commands().items() if b"bulk.worker" in name and mark in name]


def ray_workers():
    """Processes of Ray that have shards translated; they give themselves a name."""
    return [pid for pid, name in commands().items() if b"ShardActor" in name]


def commands():
    """Command lines of all processes."""
    found = {}
    for path in Path("/proc").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError, NotADirectoryError):
            if path.name.isdigit():
                found[int(path.name)] = (path / "cmdline").read_bytes()
    return found


def test_lines_out_are_lines_in_as_from_a_stream(home, files):
    for name, output in zip(files, ["many.txt", "odd.txt", "empty.txt", "packed.txt"], strict=True):
        code, said = run(home, "translate", "run", name, "-o", "streamed")
        assert code == 0, said
        assert (home / "one" / output).read_bytes() == (home / "streamed").read_bytes()
    assert (home / "one" / "odd.txt").read_bytes().count(b"\n") == 8
    assert complete(home, "one")


def test_json_lines_of_several_workers(home, files):
    code, said = run(
        home,
        "translate",
        "run",
        "odd.txt",
        "-o",
        "json",
        "--workers",
        2,
        "--shard-lines",
        2,
        "--format",
        "jsonl",
    )
    assert code == 0, said
    lines = (home / "json" / "odd.txt.jsonl").read_text().split("\n")[:-1]
    found = "".join(json.loads(line)["translation"] + "\n" for line in lines)
    assert found == (home / "one" / "odd.txt").read_text()


def test_samples_are_the_same_with_any_number_of_workers(home, files):
    sampled = ("--set", "kind=sampling", "--set", "n_best=2", "--format", "jsonl")
    common = ("translate", "run", "many.txt", "odd.txt", *sampled, "--shard-lines", 7)
    for workers in (1, 2):
        code, said = run(home, *common, "--workers", workers, "-o", f"sampled{workers}")
        assert code == 0, said
    found = [contents(home / f"sampled{workers}") for workers in (1, 2)]
    assert found[0] == found[1]
    assert len(set(found[0]["many.txt.jsonl"].splitlines())) > 10
    code, said = run(home, *common, "--set", "seed=2", "-o", "sampled1")
    assert "sampled1 holds a job with other decoding" in said


def test_scores_are_those_of_a_plain_translation_to_the_last_digit(home, files, monkeypatch):
    """Batches decide on last digits, and here no shard has the batches of the whole file."""
    monkeypatch.setattr(sys.modules["seqtrans.cli.translate"], "SHARD_LINES", 7)
    plain = ("translate", "run", "many.txt", "--format", "jsonl", "--batch-tokens", 60)
    code, said = run(home, *plain, "-o", "plain.jsonl")
    assert code == 0, said
    code, said = run(home, *plain, "-o", "exact", "--workers", 2)
    assert code == 0, said
    found = (home / "exact" / "many.txt.jsonl").read_bytes()
    assert found == (home / "plain.jsonl").read_bytes()
    (home / "first.txt").write_text("".join(f"{line}\n" for line in LINES[:7]))
    assert run(home, *plain[:2], "first.txt", *plain[3:], "-o", "first.jsonl")[0] == 0
    assert found.startswith((home / "first.jsonl").read_bytes())


def test_the_same_command_again_does_nothing(home, files):
    before = (home / "one" / "many.txt").stat()
    code, said = run(home, "translate", "run", *files, "-o", "one", "--shard-lines", 4)
    assert (code, said.splitlines()[-1]) == (0, "one: done already")
    assert (home / "one" / "many.txt").stat() == before


@pytest.mark.faults
@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
def test_workers_and_drivers_that_are_killed_cost_no_finished_shard(home, files):
    arguments = (*files, "-o", "killed", "--workers", 2, "--shard-lines", 4)
    driver = start(home, *arguments)
    wait_for(lambda: len(children(driver.pid)) == 2)
    os.kill(children(driver.pid)[0], signal.SIGKILL)  # while it starts
    wait_for(lambda: len(parts(home / "killed")) >= 2 or driver.poll() is not None)
    workers = children(driver.pid)
    os.kill(workers[0], signal.SIGKILL)
    driver.kill()
    driver.communicate()
    wait_for(lambda: not any(Path(f"/proc/{worker}/exe").exists() for worker in workers))
    done = {part: part.stat().st_mtime_ns for part in parts(home / "killed")}
    assert done
    half_written = home / "killed" / FOLDER / "parts" / ".000000012.0.partial"
    half_written.write_text("by a worker that is dead")
    driver = start(home, *arguments)
    wait_for(lambda: len(parts(home / "killed")) > len(done) or driver.poll() is not None)
    assert not half_written.exists()
    assert all(part.stat().st_mtime_ns == at for part, at in done.items() if part.exists())
    output, said = driver.communicate(timeout=90)
    assert driver.returncode == 0, said
    assert "lines are done from before" in said
    assert output == ""
    assert complete(home, "killed")


@pytest.mark.faults
def test_what_kills_every_worker_is_named_and_the_rest_is_done(home, files, monkeypatch):
    folder = home / "poison"
    arguments = ("translate", "run", "many.txt", "-o", "poison", "--workers", 2, "--shard-lines", 4)
    (home / "sitecustomize.py").write_text(
        "import seqtrans.translation.bulk.job_directory as job, os\n"
        "text = job.Job.text\n"
        "job.Job.text = lambda self, number: os._exit(9) if number == 2 else text(self, number)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(home), prepend=os.pathsep)
    code, said = run(home, *arguments)
    assert code == 2
    assert (
        f"lines 9 to 12 of {home / 'many.txt'}: not translated: its process died (exit code 9)"
        in said
    )
    assert len(parts(folder)) == 14
    monkeypatch.undo()
    assert run(home, *arguments)[0] == 0
    assert (folder / "many.txt").read_bytes() == (home / "one" / "many.txt").read_bytes()


def test_where_memory_can_not_hold_the_model_the_job_ends_in_one_line(home, files, monkeypatch):
    (home / "sitecustomize.py").write_text(
        "import seqtrans.translation.inference.translator as it\n"
        "def refuse(*_, **__):\n"
        '    raise RuntimeError("DefaultCPUAllocator: can\'t allocate memory")\n'
        "it.Translator.__init__ = refuse\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(home), prepend=os.pathsep)
    code, said = run(home, "translate", "run", *files, "-o", "large", "--workers", 1)
    assert (code, said) == (2, "seqtrans: memory can't hold the model: take fewer --workers\n")


def test_ctrl_c_stops_and_says_how_to_go_on(home, files):
    arguments = (*files, "-o", "stopped", "--workers", 1, "--shard-lines", 1)
    driver = start(home, *arguments)
    wait_for(lambda: parts(home / "stopped") or driver.poll() is not None)
    driver.send_signal(signal.SIGINT)
    said = driver.communicate(timeout=60)[1]
    assert driver.returncode == 130, said
    assert said.splitlines()[-1] == "stopped; the same command goes on"
    assert not (home / "stopped" / FOLDER / "lock").exists()


REFUSED = {
    ("many.txt", "odd.txt"): "a bulk job writes several files: give --output a folder",
    ("many.txt", "odd.txt", "-o", "many.txt"): "give --output a folder, which many.txt is not",
    ("--workers", "2", "-o", "new"): "a bulk job reads files: name them",
    ("-", "many.txt", "-o", "new"): "a bulk job reads files: name them",
    ("gone.txt", "--workers", "2", "-o", "new"): "gone.txt: no such file",
    (".", "--workers", "2", "-o", "new"): "not a regular file",
    ("many.txt", "run/../many.txt", "-o", "new"): "would both become many.txt",
    ("many.txt", "-o", "."): "many.txt would be overwritten: take another folder",
    ("many.txt", "-o", "one"): "one holds a job with other shard lines and sources",
    ("latin.txt", "-o", "new", "--workers", "1"): "latin.txt:2: not UTF-8",
}


@pytest.mark.parametrize("arguments", REFUSED, ids=" ".join)
def test_what_can_not_be_is_refused(home, files, arguments):
    (home / "latin.txt").write_bytes(b"a\n\xe4\n")
    code, said = run(home, "translate", "run", *arguments)
    assert code == 2
    assert REFUSED[arguments] in said
    assert len(said.splitlines()) == 1, said


def test_a_job_does_not_go_on_with_other_files_settings_or_weights(home, files):
    (home / "text.txt").write_text("ab\ncd\n")
    arguments = ("translate", "run", "text.txt", "-o", "job", "--workers", 1)
    assert run(home, *arguments)[0] == 0
    assert "job with other decoding" in run(home, *arguments, "--beam-size", 1)[1]
    (home / "text.txt").write_text("ab\ncd\nef\n")
    assert "text.txt has changed since the job began" in run(home, *arguments)[1]
    (home / "job" / FOLDER / "plan.json").write_text("{}")
    assert "plan.json: damaged" in run(home, *arguments)[1]


def test_of_two_drivers_one_is_refused(home, files):
    (home / "twice" / FOLDER).mkdir(parents=True)
    with locked(home / "twice" / FOLDER / "lock", "it"):
        code, said = run(home, "translate", "run", "many.txt", "-o", "twice")
    assert code == 2
    assert f"the job in twice is in use by process {os.getpid()}" in said


@pytest.mark.skipif(
    sys.platform != "linux" or torch.cuda.is_available(),
    reason="asks Linux; on a GPU no limit is set",
)
def test_workers_share_the_memory_of_a_container(home, files, monkeypatch):
    """The driver is told that it is in one, of 4 GiB; what it holds itself is not to be had."""
    close, found = WorkerProcess.close, []

    def watched(worker):
        found.append(resource.prlimit(worker._process.pid, resource.RLIMIT_DATA)[0])
        close(worker)

    monkeypatch.setattr(WorkerProcess, "close", watched)
    monkeypatch.setattr("seqtrans.runtime.memory.memory_cap", lambda: 4 << 30)
    monkeypatch.setattr("seqtrans.runtime.memory.limit_memory_to_cgroup", lambda: None)
    code, said = run(
        home, "translate", "run", *files, "-o", "shared", "--workers", 2, "--shard-lines", 4
    )
    assert code == 0, said
    assert len(found) == 2
    assert found[0] == found[1]
    assert (1 << 30) < found[0] < (2 << 30)
    assert complete(home, "shared")


@pytest.mark.faults
@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
def test_ray_gives_the_same_bytes_though_workers_are_killed(home, files):
    arguments = (*files, "-o", "ray", "--engine", "ray", "--workers", 2, "--shard-lines", 2)
    driver = start(home, *arguments)
    wait_for(lambda: parts(home / "ray") or driver.poll() is not None)
    os.kill(ray_workers()[0], signal.SIGKILL)
    os.kill(translating(home / "ray")[-1], signal.SIGKILL)
    said = driver.communicate(timeout=240)[1]
    assert driver.returncode == 0, said
    assert [line for line in said.splitlines() if " lines" not in line] == []  # Ray says nothing
    assert complete(home, "ray")


@pytest.mark.faults
def test_what_the_cluster_lacks_is_named(home, files):
    ray = ("translate", "run", "many.txt", "-o", "lacking", "--engine", "ray")
    code, said = run(home, *ray, "--threads", 10_000)
    assert code == 2
    assert said.splitlines() == [
        "seqtrans: no machine of the Ray cluster has 10000 cores (--threads)"
    ]


def test_without_ray_the_extra_is_named(home, files, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    code, said = run(home, "translate", "run", "many.txt", "-o", "none", "--engine", "ray")
    assert code == 2
    assert "pip install 'seqtrans[cluster]'" in said
