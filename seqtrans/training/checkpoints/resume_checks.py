"""Refuse to go on with a run as something else than it was."""

from collections.abc import Mapping, Sequence

from seqtrans.config.trees import dotted, named_paths
from seqtrans.errors import CheckpointError
from seqtrans.training.checkpoints import format as checkpoint
from seqtrans.training.checkpoints.provenance import DATA, Origins, differing
from seqtrans.training.checkpoints.run_directory import RunDirectory


def refuse_changes(
    run: RunDirectory, origins: Origins, recipe: object, choice: Sequence[str] = ()
) -> None:
    """Refuse to go on with other data to learn from, or as another model.

    Args:
        run: What goes on; it may be new.
        origins: Of what is to go on.
        recipe: What it is to go on by, for the names of its files.
        choice: Keys that say which of the data are learnt from: where one of these was changed,
            the data are not to blame.

    Raises:
        CheckpointError: They differ from those of the newest checkpoint.
    """
    before = _kept_by(run)
    changed = _to_blame(differing(before, origins.kept), choice)
    if not changed:
        return
    again = f"or begin another run with init_from: {run.path}"
    if data := [key for key in changed if key.startswith(DATA)]:
        files = _file_names(recipe)
        named = " and ".join(dict.fromkeys(files.get(key, key) for key in data))
        raise CheckpointError(
            f"{data[0]}: {named}: not what {run.path} learnt from until now: put that back, {again}"
        )
    more = f" (and {len(changed) - 1} other settings)" if changed[1:] else ""
    raise CheckpointError(
        f"{changed[0]} is {origins.kept[changed[0]]}, but the run was trained with "
        f"{before[changed[0]]}{more}: set it back, {again}"
    )


def _to_blame(changed: list[str], choice: Sequence[str]) -> list[str]:
    """Return which of the changed keys to name: where data are, how they were chosen otherwise."""
    chosen = [key for key in changed if key in choice]
    if DATA in changed and chosen:
        return chosen
    return [key for key in changed if key not in chosen]


def _file_names(recipe: object) -> dict[str, str]:
    """Return what a recipe names, by key; all data to learn from by the one key for them, too."""
    named = {dotted(key): str(file) for key, file in named_paths(recipe).items()}
    data = [file for key, file in named.items() if key.startswith(f"{DATA}.")]
    return {DATA: " and ".join(data), **named}


def _kept_by(run: RunDirectory) -> Mapping[str, str]:
    for step in reversed(run.steps()):
        try:
            return checkpoint.read_state(run.at(step), check_files=False).get("kept", {})
        except CheckpointError:
            continue
    return {}
