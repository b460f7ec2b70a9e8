"""The driver of a bulk job may die or be refused at any call that touches files.

Nothing is translated here: the stand-in says a line backwards, and what is tested is all around.
"""

import errno
import os
import shutil
import signal
from contextlib import nullcontext
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from seqtrans.errors import DataError, SeqtransError
from seqtrans.translation.bulk import Means, describe, translate_files
from seqtrans.translation.bulk import driver as running
from seqtrans.translation.bulk import job_directory as job
from seqtrans.translation.bulk import ray_engine as on_ray
from seqtrans.translation.bulk.local_engine import TRIES, Done
from seqtrans.translation.search.config import BeamConfig
from tests.support.fault_injection import USER_ERROR, Points, counted, die, exit_code, refuse
from tests.support.processes import processes

TEXTS = {"a": "ab\ncd\nef\ngh\nij\n", "b": "", "c": "xy"}
EXPECTED = {"a": b"ba\ndc\nfe\nhg\nji\n", "b": b"", "c": b"yx\n"}
AT_LEAST = 150


def work(folder, names=tuple(TEXTS)):
    checkpoint = folder / "checkpoint"
    checkpoint.mkdir(exist_ok=True)
    (checkpoint / "state.yaml").write_text("step: 1\n")
    return describe(
        run=folder,
        checkpoint=checkpoint,
        decoding=vars(BeamConfig()),
        precision="fp32",
        output_format="text",
        shard_lines=2,
        sources=[folder / name for name in names],
    )


def texts(folder):
    folder.mkdir()
    for name, text in TEXTS.items():
        (folder / name).write_text(text)
    return folder


def backwards(job, shards, _means):
    """Translates in this process, and insists that nothing is asked for twice."""
    for shard in shards:
        assert not job.is_done(shard.number)
        job.finish(shard.number, [line[::-1] for line in job.text(shard.number)])
        yield Done(shard.number)


def translate(folder, points=None):
    asked, patched = work(folder), mock.patch.object(running, "_run", backwards)
    with counted(points) if points else nullcontext(), patched:
        done = list(translate_files(asked, folder / "out", Means()))
    assert done[-1].done == done[-1].total == 6


def problem(folder, said):
    """What is wrong with a job that was taken up again."""
    if code := exit_code(lambda: translate(folder), said):
        return f"going on ended with {code}: {said.read_text()}"
    out = folder / "out"
    found = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    if found != EXPECTED:
        return f"made {found}"
    left = [p.name for p in (out / job.FOLDER).rglob("*") if p.is_file() and "lock." not in p.name]
    return "" if sorted(left) == ["0", "1", "2", "plan.json"] else f"left {left}"


def everywhere(folder: Path, reasons: list[str], every: int, report: Path) -> None:
    points = Points(0, die)
    translate(texts(folder / "straight"), points)
    problems, tried = [], 0
    for reason in reasons:
        deed = die if reason == "killed" else refuse(getattr(errno, reason))
        for at in range(1, points.count + 1, len(reasons) * every):
            home, said = texts(folder / f"{reason}{at}"), folder / "said"
            code = exit_code(lambda h=home, n=at, d=deed: translate(h, Points(n, d)), said)
            wrong = problem(home, said)
            if code not in ({-signal.SIGKILL} if reason == "killed" else {0, USER_ERROR}):
                wrong = f"ended with {code}: {said.read_text()}"
            problems += [f"{reason} {at}: {wrong}"] if wrong else []
            tried += 1
            shutil.rmtree(home)
    report.write_text("\n".join([str(tried), *problems]))


@pytest.mark.faults
@pytest.mark.parametrize("every", [2, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("reasons", [["killed"], ["ENOSPC", "EACCES", "EIO"]], ids=" ".join)
def test_a_driver_that_dies_or_is_refused_anywhere_goes_on(tmp_path, reasons, every):
    report = tmp_path / "report"
    process = processes.Process(target=everywhere, args=(tmp_path, reasons, every, report))
    process.start()
    process.join()
    assert process.exitcode == 0
    tried, *problems = report.read_text().splitlines()
    assert not problems, "\n".join(problems)
    assert int(tried) >= AT_LEAST / every


def test_a_source_that_grows_while_it_is_cut_is_refused(tmp_path, monkeypatch):
    folder = texts(tmp_path / "home")

    def growing(path):
        yield from TEXTS[path.name].splitlines()
        with path.open("a") as file:
            file.write("more\n")

    with monkeypatch.context() as patch:
        patch.setattr(job, "open_lines", growing)
        with pytest.raises(
            DataError, match="a changes while it is read: wait until it is complete"
        ):
            translate(folder)
    (folder / "a").write_text(TEXTS["a"])
    assert problem(folder, tmp_path / "said") == ""


def test_a_part_that_was_altered_is_not_joined(tmp_path, monkeypatch):
    folder = texts(tmp_path / "home")

    def interrupted(job, shards, means):
        yield next(backwards(job, shards, means))
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "_run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(translate_files(work(folder), folder / "out", Means()))
    (altered,) = (folder / "out" / job.FOLDER / "parts").glob("[0-9]*")
    altered.write_text("one\n")
    again = "was altered: it must have 2 lines; delete it and start the same command again"
    with pytest.raises(SeqtransError, match=again):
        translate(folder)
    assert not (folder / "out" / "a").exists()
    altered.unlink()
    assert problem(folder, tmp_path / "said") == ""


def test_a_file_that_was_made_and_is_gone_is_not_called_done(tmp_path):
    folder = texts(tmp_path / "home")
    translate(folder)
    (folder / "out" / "a").unlink()
    with pytest.raises(DataError, match="a was complete and is gone: put it back, or take another"):
        translate(folder)


SAID = {
    "death": ("SIGKILL", ": its process died (SIGKILL)"),
    "failure": ("the score is nan", ": the score is nan"),
}


@pytest.mark.parametrize("how", SAID)
def test_where_every_shard_fails_not_all_are_tried(tmp_path, monkeypatch, how):
    folder = texts(tmp_path / "home")
    (folder / "a").write_text("a\n" * 1000)
    asked = []

    def deadly(_job, shards, _means):
        for shard in shards:
            asked.append(shard.number)
            yield Done(shard.number, **{how: SAID[how][0] if shard.number > 3 else ""})

    monkeypatch.setattr(running, "_run", deadly)
    with pytest.raises(SeqtransError) as error:
        list(translate_files(work(folder, ["a"]), folder / "out", Means()))
    assert len(asked) == 4 + 10
    told = str(error.value).splitlines()
    assert told[0] == f"lines 9 to 10 of {folder / 'a'}: not translated{SAID[how][1]}"
    assert told[5] == "and 495 more"


def stand_in(folder, monkeypatch, code):
    """Have every worker process run ``code`` first, where ``text`` is ``Job.text`` as it was."""
    before = "import errno, os\nfrom seqtrans.translation.bulk import job_directory as job\n"
    before += "from seqtrans.translation.bulk import shard_translator as it\n"
    before += "from seqtrans.errors import *\ntext = job.Job.text\n"
    (folder / "sitecustomize.py").write_text(before + BACKWARDS + code)
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)


BACKWARDS = """
class Backwards(it.ShardTranslator):
    def __init__(self, folder, device, threads):
        self._job = job.load_job(folder)
    def _lines(self, number):
        return [line[::-1] for line in self._job.text(number)]
it.ShardTranslator = Backwards
def raises(error):
    raise error
"""
FAILS = "Backwards._lines = lambda self, n: {} if n == 0 else [x[::-1] for x in text(self._job, n)]"


@pytest.mark.parametrize("engine", ["local", "actor"])
def test_a_shard_that_can_not_be_translated_is_named_and_the_rest_is_done(
    tmp_path, monkeypatch, engine
):
    folder = texts(tmp_path / "home")

    def by_actor(job, shards, _means):
        on_ray.begun_in(str(job.folder)).mkdir()
        actor = on_ray.ShardActor(str(job.folder), "cpu", 1)
        found = actor({"shard": np.array([shard.number for shard in shards])})
        actor._worker.close()
        for row in zip(*(found[n] for n in ("shard", "error", "death", "failure")), strict=True):
            yield Done(*row)

    if engine == "actor":
        monkeypatch.setattr(running, "_run", by_actor)
    with monkeypatch.context() as patch:
        stand_in(tmp_path, patch, FAILS.format("raises(CheckpointError('the score is nan'))"))
        with pytest.raises(SeqtransError) as error:
            list(translate_files(work(folder), folder / "out", Means(workers=1)))
    named, remedy = str(error.value).splitlines()
    assert named == f"lines 1 to 2 of {folder / 'a'}: not translated: the score is nan"
    assert remedy.startswith("start the same command to try these again")
    assert {p.name for p in (folder / "out" / job.FOLDER / "parts").iterdir()} == {
        "000000001",
        "000000002",
    }
    assert (folder / "out" / "c").read_bytes() == EXPECTED["c"]
    assert problem(folder, tmp_path / "said") == ""  # insists that nothing is done twice


FATAL = {
    "of the disk": (
        FAILS.format("raises(OSError(errno.ENOSPC, 'No space left'))"),
        "No space left",
    ),
    "of the start": (
        "Backwards.__init__ = lambda *_: raises(SeqtransError('no such device'))",
        "^no such device$",
    ),
}


@pytest.mark.parametrize("what", FATAL)
def test_what_no_shard_is_to_blame_for_ends_the_job_at_once(tmp_path, monkeypatch, what):
    folder = texts(tmp_path / "home")
    code, said = FATAL[what]
    stand_in(tmp_path, monkeypatch, code)
    with pytest.raises(SeqtransError, match=said) as error:
        list(translate_files(work(folder), folder / "out", Means(workers=1)))
    assert len(str(error.value).splitlines()) == 1
    assert not list((folder / "out" / job.FOLDER / "parts").glob("[0-9]*"))


def test_an_output_that_can_not_be_written_is_one_line(tmp_path):
    folder = texts(tmp_path / "home")
    (folder / "out").write_text("no folder")
    with pytest.raises(DataError, match=f"^{folder / 'out'}.*: (Not a directory|File exists)$"):
        translate(folder)
    os.remove(folder / "out")  # noqa: PTH107
    assert problem(folder, tmp_path / "said") == ""


def test_a_shard_with_which_actors_end_is_given_up(tmp_path, monkeypatch):
    """Ray ends actors itself where memory is short, and starts their tasks again for ever."""
    monkeypatch.setattr(on_ray.WorkerProcess, "translate", lambda _, number: Done(number))
    begun = on_ray.begun_in(str(tmp_path))
    begun.mkdir()
    (begun / "5").write_bytes(b"." * TRIES)
    (begun / "6").write_bytes(b"." * (TRIES - 1))
    actor = on_ray.ShardActor(str(tmp_path), "cpu", 1)
    found = actor({"shard": np.array([4, 5, 6])})
    assert [bool(death) for death in found["death"]] == [False, True, False]
    assert not any(found["error"])
    assert [path.name for path in begun.iterdir()] == ["5"]
