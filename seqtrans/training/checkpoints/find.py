"""Find a checkpoint of a run by its name, and read the stored recipe."""

from pathlib import Path
from typing import TypeVar

from seqtrans import config
from seqtrans.errors import CheckpointError
from seqtrans.training.checkpoints.run_directory import AVERAGED, RunDirectory

RecipeT = TypeVar("RecipeT")


def stored_recipe_of(cls: type[RecipeT], task: str, run: RunDirectory) -> RecipeT:
    """Read the recipe of a run of one task; the files it names may be gone.

    Raises:
        CheckpointError: The run is one of another task.
        RecipeError: It was altered into something invalid.
    """
    document = config.read(run.recipe)
    stored = document.get("task", task)
    if stored != task:
        raise CheckpointError(f"{run.path} is a run of task '{stored}', not '{task}'")
    return config.validate(cls, document)


def find_checkpoint(run: RunDirectory, name: str) -> Path:
    """Return the folder of a checkpoint; for its names see ``load_run``.

    Raises:
        CheckpointError: There is no such checkpoint.
    """
    if name in ("best", "last"):
        is_chosen = (run.checkpoints / name).exists()
        try:
            return run.pointed(name if is_chosen else "last")
        except CheckpointError as error:
            there = ", ".join(_kept(run))
            hint = f"; its checkpoints are {there}" if there else ""
            raise CheckpointError(f"{error}{hint}") from error
    path = run.checkpoints / name
    if name != path.name or not path.is_dir():
        known = ", ".join(["best", "last", *_kept(run)])
        raise CheckpointError(f"{run.path} has no checkpoint '{name}'; it has {known}")
    return path


def _kept(run: RunDirectory) -> list[str]:
    averaged = [AVERAGED] if (run.checkpoints / AVERAGED).is_dir() else []
    return [*averaged, *map(str, run.steps())]
