"""At any call that touches files a run may die or be refused: it goes on to the same end."""

import errno
import json
import random
import shutil
import signal
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from seqtrans.training.checkpoints.format import read_state
from seqtrans.training.checkpoints.run_directory import (
    RunDirectory,
    create,
    newest_good,
    open_run,
    writing,
)
from seqtrans.training.config import CheckpointsConfig
from seqtrans.training.optim.optimizer import AdamConfig
from seqtrans.training.reporting.loggers import log_to_stderr
from tests.support.fault_injection import USER_ERROR, Points, counted, die, exit_code, refuse
from tests.support.interruption import HARD, files_of, history
from tests.support.processes import processes
from tests.support.toy_training import ToyTask, toy_task, toy_trainer

pytestmark = pytest.mark.faults

KEEP = CheckpointsConfig(keep_best=2, keep_last=1, every_steps=2, average_best=2)
CONFIG = {**HARD, "max_steps": 9, "validate_every_steps": 3, "log_every_steps": 1}
AT_LEAST = 200
ROOM, HEAVY = 15, 26


class Scarce(ToyTask):
    """Memory runs out over some micro-batches: what is learnt of it must not be lost either."""

    def loss_sums(self, model, batch):
        if batch.size > ROOM and int(batch.token[0].sum()) > HEAVY:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().loss_sums(model, batch)


def train(folder: Path, points: Points | None = None) -> None:
    """Begin the run in a folder, or go on with it, as the command does."""
    with counted(points) if points else nullcontext(), writing(folder):
        is_run = (folder / "recipe.yaml").exists()
        run = open_run(folder) if is_run else create(folder, "toy: true\n")
        with log_to_stderr(run.log):
            config = {**CONFIG, "optimizer": AdamConfig(learning_rate=0.01)}
            trainer = toy_trainer(Scarce(**vars(toy_task())), run=run, checkpoints=KEEP, **config)
            trainer.resume()
            trainer.fit()


def outcome(folder: Path) -> dict[str, object]:
    """All that a run leaves behind and that must not depend on what befell it."""
    run = open_run(folder)
    best, last = (run.pointed(name) for name in ("best", "last"))
    return {
        "steps": run.steps(),
        "pointers": (best.name, last.name),
        "metrics": read_state(best)["metrics"],
        "history": history(run),
        "leftovers": sorted(p.name for p in folder.rglob(".*")),
        "recipe": run.recipe.read_text(),
        "sizes": run.sizes.read_text(),
        **{name: tensor.tolist() for name, tensor in files_of(run).items()},
    }


def differing(folder: Path, expected: dict[str, object]) -> str:
    found = outcome(folder)
    wrong = [k for k in expected.keys() | found.keys() if found.get(k) != expected.get(k)]
    return ", ".join(f"{k}: {str(found.get(k))[:200]}" for k in sorted(wrong))


def kill(folder: Path, at: int, expected: dict[str, object], total: int) -> str:
    """Die at a moment, die again somewhere while going on, go on; what is wrong at the end."""
    said = folder.with_suffix(".said")
    code = exit_code(lambda: train(folder, Points(at, die)), said)
    if code != -signal.SIGKILL:
        return f"was not killed but ended with {code}: {said.read_text()}"
    again = random.Random(at).randint(1, total)  # noqa: S311 - not for secrets
    code = exit_code(lambda: train(folder, Points(again, die)), said)
    if code not in (0, -signal.SIGKILL):
        return f"going on, to {again}, ended with {code}: {said.read_text()}"
    if code := exit_code(lambda: train(folder), said):
        return f"going on after {again} ended with {code}: {said.read_text()}"
    return differing(folder, expected)


def hinder(folder: Path, at: int, expected: dict[str, object], reason: str) -> str:
    """Have the system refuse, mend that, go on; what is wrong on the way or at the end."""
    said = folder.with_suffix(".said")
    away = folder.with_suffix(".away")
    number, _, lasts = reason.partition(" ")
    deed = (lambda: folder.rename(away)) if number == "vanishes" else refuse(getattr(errno, number))
    points = Points(at, deed, lasts=bool(lasts), moments=("before", "amid"))
    code = exit_code(lambda: train(folder, points), said)
    if code not in (0, USER_ERROR):
        return f"ended with {code}: {said.read_text()}"
    if number == "vanishes" and away.exists():
        if folder.exists() and (away / "recipe.yaml").exists():
            return "a part of the folder came back"
        if folder.exists():  # it was no run yet, and was made anew
            shutil.rmtree(away)
        else:
            away.rename(folder)
    if (folder / "recipe.yaml").exists() and (problem := unsound(open_run(folder))):
        return problem
    if code := exit_code(lambda: train(folder), said):
        return f"going on ended with {code}: {said.read_text()}"
    return differing(folder, expected)


def unsound(run: RunDirectory) -> str:
    """Whether a checkpoint is not whole, or the newest not the last that was reported."""
    for step in run.steps():
        read_state(run.at(step))
    newest = newest_good(run)
    if (run.checkpoints / "last").exists():
        last = run.pointed("last").name
        return "" if newest and newest[0] >= int(last) else f"{newest} is older than {last}"
    return ""


def everywhere(folder: Path, reasons: list[str], most: int, report: Path) -> None:
    """Let runs meet their fate at moments spread evenly over all there are, at most so many."""
    torch.set_num_threads(1)
    points = Points(0, die)
    train(folder / "straight", points)
    expected, total = outcome(folder / "straight"), points.count
    problems: list[str] = []
    tried = 0
    for reason in reasons:
        share = most // len(reasons)
        for i in range(min(total, share)):
            at = 1 + i * total // min(total, share)
            path = folder / f"{reason}-{at}"
            tried += 1
            if reason == "kill":
                problem = kill(path, at, expected, total)
            else:
                problem = hinder(path, at, expected, reason)
            if problem:
                problems.append(f"{reason} at {at} of {total}: {problem}")
            shutil.rmtree(path, ignore_errors=True)
    report.write_text(json.dumps({"total": total, "tried": tried, "problems": problems}))


def fates(folder: Path, reasons: list[str], most: int) -> dict:
    report = folder / "report"
    process = processes.Process(target=everywhere, args=(folder, reasons, most, report))
    process.start()
    process.join(7200)  # all moments take half an hour
    assert process.exitcode == 0
    return json.loads(report.read_text())


@pytest.mark.parametrize("most", [25, pytest.param(10**6, marks=pytest.mark.slow)])
def test_killed_at_any_moment_it_ends_the_same(tmp_path, most):
    found = fates(tmp_path, ["kill"], most)
    assert found["total"] >= AT_LEAST
    assert found["tried"] == min(found["total"], most)
    assert not found["problems"], "\n".join(found["problems"])


REASONS = ["ENOSPC", "ENOSPC lasts", "EIO", "EROFS lasts", "EACCES", "vanishes"]


@pytest.mark.parametrize("most", [24, pytest.param(900, marks=pytest.mark.slow)])
def test_refused_at_any_moment_it_ends_in_one_line_and_can_go_on(tmp_path, most):
    found = fates(tmp_path, REASONS, most)
    assert not found["problems"], "\n".join(found["problems"])


def begin(folder: Path, points: Points | None = None) -> None:
    """Make a run, or see that it was made, as the command does before all else."""
    with counted(points) if points else nullcontext(), writing(folder, "job"):
        if not (folder / "recipe.yaml").exists():
            create(folder, "toy: true\n", "job", {"mine.py": b"1"})


def begun_everywhere(folder: Path, report: Path) -> None:
    """Die at every moment of the beginning; what is wrong after beginning again."""
    points = Points(0, die)
    begin(folder / "straight", points)
    problems = []
    for at in range(1, points.count + 1):
        path, said = folder / str(at), folder / "said"
        code = exit_code(lambda p=path, n=at: begin(p, Points(n, die)), said)
        problems += [] if code == -signal.SIGKILL else [f"{at}: was not killed but ended: {code}"]
        if code := exit_code(lambda p=path: begin(p), said):
            problems += [f"{at}: beginning again ended with {code}: {said.read_text()}"]
        left = sorted(entry.name for entry in path.iterdir())
        if left != ["checkpoints", "job", "mine.py", "recipe.yaml", "vocabulary"]:
            problems += [f"{at}: left {left}"]
    report.write_text("\n".join([str(points.count), *problems]))


def test_killed_at_any_moment_of_its_beginning_it_can_begin(tmp_path):
    report = tmp_path / "report"
    process = processes.Process(target=begun_everywhere, args=(tmp_path, report))
    process.start()
    process.join(300)
    assert process.exitcode == 0
    count, *problems = report.read_text().splitlines()
    assert int(count) >= 50
    assert not problems, "\n".join(problems)
