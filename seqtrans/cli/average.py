"""``seqtrans average``: the mean of checkpoints as one more checkpoint."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from seqtrans.errors import CheckpointError


def average(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    best: Annotated[
        int | None, typer.Option(min=2, help="Average this many of the best checkpoints.")
    ] = None,
    last: Annotated[
        int | None, typer.Option(min=2, help="Average this many of the last checkpoints.")
    ] = None,
    step: Annotated[
        list[int] | None, typer.Option(help="Average the checkpoint of this step; may be repeated.")
    ] = None,
) -> None:
    """Write the mean of checkpoints as RUN/checkpoints/averaged.

    Use it with --checkpoint averaged. Without --best, --last or --step, all checkpoints are
    averaged.
    """
    from seqtrans.recipe.load import stored_recipe
    from seqtrans.training.checkpoints.run_directory import open_run
    from seqtrans.training.checkpoints.store import CheckpointStore
    from seqtrans.training.checkpoints.weights import average as mean_weights

    if sum(map(bool, (best, last, step))) > 1:
        raise CheckpointError("give --best, --last or --step, not several of them")
    if step and len(set(step)) < len(step):
        raise CheckpointError("a --step is given twice: each checkpoint counts once")
    directory = open_run(run)
    store = CheckpointStore(directory, stored_recipe(directory).training)
    if best:
        steps = store.best_steps(best)
    else:
        steps = store.last_steps(last) if last else step or directory.steps()
    if (count := best or last) and len(steps) < count:
        kind = "validated checkpoints" if best else "checkpoints"
        raise CheckpointError(f"{run} keeps {len(steps)} {kind}, not {count}")
    if unknown := sorted(set(steps) - set(directory.steps())):
        kept = ", ".join(map(str, directory.steps()))
        raise CheckpointError(f"{run} has no checkpoint {unknown[0]}; it has {kept or 'none'}")
    weights = mean_weights([directory.at(s) for s in steps])
    store.save_averaged(steps, {}, weights)
    listed = ", ".join(map(str, steps))
    sys.stderr.write(f"{directory.checkpoints / 'averaged'}: the mean of the steps {listed}\n")
