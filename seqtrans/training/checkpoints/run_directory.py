"""The run directory: everything needed to resume a run or to use its model.

::

    recipe.yaml      resolved, every default written
    *.py             the file that builds a Keras model, where the recipe names one
    vocabulary/      what turns text into ids and back
    metrics.jsonl    numbers by step
    log.txt          the log lines of the console
    sizes.yaml       what did not fit into memory, and from which step on it is divided; or none
    lock             host and process that train it now
    job              id of the torchrun that trains it, which may go on with it by itself
    checkpoints/     <step>/ and averaged/, and the text files `best` and `last` that name one
"""

import json
import logging
import math
import os
import shutil
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from seqtrans.errors import CheckpointError, TrainingError
from seqtrans.runtime.files.atomic_files import is_aside, sweep, sync_folder, write_atomically
from seqtrans.runtime.files.run_lock import locked
from seqtrans.training.checkpoints import format as checkpoint

logger = logging.getLogger(__name__)
AVERAGED = "averaged"
_LONGEST_NAME = 40  # of a checkpoint; file systems refuse much longer ones


@dataclass(frozen=True)
class RunDirectory:
    """The paths of one run; make it with ``create`` or ``open_run``."""

    path: Path

    @property
    def recipe(self) -> Path:
        """The resolved recipe."""
        return self.path / "recipe.yaml"

    @property
    def vocabulary(self) -> Path:
        """Folder of the segmentation."""
        return self.path / "vocabulary"

    @property
    def metrics(self) -> Path:
        """One JSON object per line."""
        return self.path / "metrics.jsonl"

    @property
    def log(self) -> Path:
        """The log lines of the console."""
        return self.path / "log.txt"

    @property
    def sizes(self) -> Path:
        """There once memory ran out."""
        return self.path / "sizes.yaml"

    @property
    def lock(self) -> Path:
        """There while a process trains."""
        return self.path / "lock"

    @property
    def job(self) -> Path:
        """Id of the job whose restarted processes resume the run by themselves."""
        return self.path / "job"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    def is_there(self) -> bool:
        """Return whether there is a run; no error for a name that no file can have."""
        return os.path.isfile(self.recipe)  # noqa: PTH113

    def steps(self) -> list[int]:
        """Steps of the checkpoints, damaged ones too, in order."""
        if not self.checkpoints.is_dir():
            return []
        return sorted(int(p.name) for p in self.checkpoints.iterdir() if p.name.isdecimal())

    def at(self, step: int) -> Path:
        """Folder of the checkpoint of a step."""
        return self.checkpoints / str(step)

    def pointed(self, pointer: str = "best") -> Path:
        """Return the checkpoint that ``best`` or ``last`` names.

        Raises:
            CheckpointError: There is none yet, or it is gone.
        """
        file = self.checkpoints / pointer
        try:
            name = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise CheckpointError(f"{self.path} has no {pointer} checkpoint yet") from error
        path = self.checkpoints / name[:_LONGEST_NAME]
        if not name or name != path.name or not path.is_dir():
            named = name[:_LONGEST_NAME]
            raise CheckpointError(f"{file} names '{named}', but there is no such checkpoint")
        return path

    def point(self, pointer: str, name: str) -> None:
        """Let ``best`` or ``last`` name a checkpoint, at once and for good."""
        file = self.checkpoints / pointer
        if not file.exists() or file.read_bytes().strip() != name.encode():
            write_atomically(file, f"{name}\n")


@contextmanager
def writing(path: Path, job: str = "") -> Generator[None]:
    """Lock a run directory, which is made if need be: no other process may train in it.

    Args:
        path: Of a run.
        job: Id of the job, whose restarted processes may take over the lock; see
            ``restarts.job``.

    Raises:
        LockedError: Another process trains in it.
        TrainingError: The folder can't be made or written.
    """
    lock = locked(RunDirectory(path).lock, f"run {path}", job=job)
    with ExitStack() as stack:
        try:
            path.mkdir(parents=True, exist_ok=True)
            stack.enter_context(lock)
        except OSError as error:
            reason = error.strerror or error
            raise TrainingError(f"run directory {path} can't be made: {reason}") from error
        yield


def create(
    path: Path, recipe: str, job: str = "", files: Mapping[str, bytes] = MappingProxyType({})
) -> RunDirectory:
    """Make the directory of a new run, with its resolved recipe.

    Args:
        path: Where.
        recipe: Text of the recipe. It is written last: if it exists, the directory is complete.
        job: Whose processes may go on with it; see ``restarts.job``.
        files: What else the recipe needs, by name.

    Raises:
        TrainingError: Something is there already, or nothing can be written there.
    """
    if path.exists() and not _is_blank(path, files):
        if not RunDirectory(path).recipe.is_file():
            what = "holds other things than a run" if path.is_dir() else "is a file"
            raise TrainingError(f"{path} {what}; choose another --run")
        raise TrainingError(
            f"run directory {path} exists already; go on with it by --resume, or choose another"
        )
    run = RunDirectory(path)
    try:
        run.checkpoints.mkdir(parents=True, exist_ok=True)
        run.vocabulary.mkdir(exist_ok=True)
        sync_folder(path)
        if job:
            from seqtrans.training.distributed.restarts import write_owner

            write_owner(run.job, job)
        for name, content in files.items():
            write_atomically(path / name, content)
        write_atomically(run.recipe, recipe)
    except OSError as error:
        raise TrainingError(f"run directory {path} can't be made: {error.strerror}") from error
    return run


def _is_blank(path: Path, files: Mapping[str, bytes]) -> bool:
    """Return whether a folder holds only what a process left that was killed in ``create``."""
    if not path.is_dir():
        return False
    run = RunDirectory(path)
    folders = {run.checkpoints, run.vocabulary}
    copies = {path / name: content for name, content in files.items()}
    return all(
        entry in (run.lock, run.job)
        or any(is_aside(entry.name, file) for file in (run.job, run.recipe, *copies))
        or (entry in folders and entry.is_dir() and not any(entry.iterdir()))
        or (entry in copies and entry.is_file() and entry.read_bytes() == copies[entry])
        for entry in path.iterdir()
    )


def open_run(path: Path) -> RunDirectory:
    """Return an existing run.

    Raises:
        CheckpointError: There is no run.
    """
    run = RunDirectory(path)
    if run.is_there():
        return run
    around = (parent for parent in path.parents if os.path.isdir(parent / "checkpoints"))  # noqa: PTH112 - see ``is_there``
    hint = f"; did you mean {holder}?" if (holder := next(around, None)) else ""
    if os.path.isdir(path):  # noqa: PTH112
        raise CheckpointError(f"{path} is not a run directory: it holds no recipe.yaml{hint}")
    what = f"{path} is a file, not a run directory" if os.path.exists(path) else ""  # noqa: PTH110
    raise CheckpointError(f"{what or f'there is no run directory {path}'}{hint}")


def prepare_to_resume(run: RunDirectory) -> tuple[int, dict[str, Any]] | None:
    """Find the newest good checkpoint and remove what was written after it.

    Remains of interrupted writes are deleted, and lines of ``metrics.jsonl`` after the checkpoint
    are cut, because the same steps will be done again.

    Returns:
        Its step and plain state; None where nothing was saved yet.

    Raises:
        CheckpointError: There are checkpoints, but none that can be read.
        TrainingError: The run directory can't be written.
    """
    if not os.access(run.path, os.W_OK | os.X_OK):
        raise TrainingError(f"run directory {run.path} can't be written: permission denied")
    for leftover in run.checkpoints.glob(f".*{checkpoint.PARTIAL}"):
        shutil.rmtree(leftover, ignore_errors=True)
    newest = newest_good(run)
    try:
        run.checkpoints.mkdir(exist_ok=True)
        sweep(run.sizes)
        cut_metrics(run, newest[0] if newest else 0)
    except OSError as error:
        raise TrainingError(f"files in {run.path} can't be written: {error.strerror}") from error
    return newest


def newest_good(run: RunDirectory) -> tuple[int, dict[str, Any]] | None:
    """Return step and state of the newest undamaged checkpoint; warn of newer, damaged ones.

    Raises:
        CheckpointError: There are checkpoints, but none is good, or only the mean of some that
            are gone; or one newer than any good one is of another version of seqtrans, whose work
            must not be undone.
    """
    complaint: CheckpointError | None = None
    for step in reversed(run.steps()):
        try:
            state = checkpoint.read_training(run.at(step))
        except checkpoint.OtherFormatError:
            raise
        except CheckpointError as error:
            complaint = complaint or error
            continue
        if complaint:
            logger.warning("%s; going on from step %d instead", complaint, step)
        return step, state
    if complaint:
        raise complaint
    averaged = run.checkpoints / AVERAGED
    if averaged.is_dir():  # as where only that one was shipped
        raise CheckpointError(
            f"{averaged} is the only checkpoint: training can't go on without the optimizer's "
            "state; the model can be used, and a new run can start from it by init_from"
        )
    return None


def cut_metrics(run: RunDirectory, step: int) -> None:
    """Remove lines after ``step``, and a last line that was cut short, from the metrics."""
    if not run.metrics.exists():
        return
    lines = run.metrics.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    kept = [line for line in lines if _step_of(line) <= step]
    if len(kept) < len(lines):
        write_atomically(run.metrics, "".join(kept))


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return math.inf
