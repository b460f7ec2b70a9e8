"""All that has to be there before the first update, and checks of it that take seconds."""

import logging
import shutil
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from seqtrans.training.checkpoints.run_directory import RunDirectory
from seqtrans.training.distributed.rendezvous import ALONE, Rendezvous
from seqtrans.training.oom import MicroBatchSizeLimits
from seqtrans.training.optim.schedule_advice import warn_of_rates
from seqtrans.training.preflight import check_room, check_used, try_largest_batch
from seqtrans.training.prepare import Prepared
from seqtrans.training.reporting.loggers import silent

if TYPE_CHECKING:
    from seqtrans.recipe.load import Recipe

logger = logging.getLogger(__name__)


def prepare(recipe: "Recipe", run: RunDirectory, processes: Rendezvous = ALONE) -> Prepared:
    """Make or load everything that a recipe describes, saying what was found.

    Of several processes the first makes what a run keeps of its data, and warns of what all see.
    They join once each has its data, however long that takes one of them.

    Args:
        recipe: What is to be done.
        run: Where.
        processes: This one and those that train with it.

    Raises:
        SeqtransError: Anything that the user can mend.
    """
    processes.patience = recipe.training.processes.timeout_seconds
    with nullcontext() if processes.rank == 0 else silent():
        if recipe.task == "translation":
            from seqtrans.translation.recipe import prepare as translation

            return translation.prepare(recipe, run, processes)
        from seqtrans.images.recipe import prepare as images

        return images.prepare(recipe, run, processes)


def check(prepared: Prepared, recipe: "Recipe", run: RunDirectory) -> None:
    """Try once what training will do for hours: its largest batch, decoding, saving.

    Of several processes every one must call it. If memory runs out in one while weights are shared
    out, the others wait for it in vain, as in training.

    Raises:
        TrainingError: Memory or room on the disk will not do, or several processes can't train a
            part of the model.
    """
    task, model, group = prepared.task, prepared.model, prepared.group
    if group.rank == 0:
        warn_of_rates(recipe.training, prepared.updates_in_epoch, logger.warning)
    check_room(run, model, recipe.training)
    sizes = MicroBatchSizeLimits(run.sizes)
    sizes.read(group)
    largest = try_largest_batch(task, model, recipe.training, group, sizes, _step_of(run))
    logger.info(
        "largest batch: %s %s in %.2f s, %s MB",
        f"{largest.targets:,}",
        task.unit,
        largest.seconds,
        f"{largest.memory / 1e6:,.0f}",
    )
    check_used(largest.unused, group.world_size)
    if largest.fitting < largest.targets:
        logger.warning(
            "only %s of them fit into memory at once: what is larger will be computed in parts",
            f"{largest.fitting:,}",
        )
    if prepared.rehearse:
        prepared.rehearse(group)


def _step_of(run: RunDirectory) -> int | None:
    """Updates done before; None where nothing was saved yet."""
    steps = run.steps()
    return max(steps, default=0) if steps or run.sizes.exists() else None


@contextmanager
def removed_on_failure(run: RunDirectory) -> Generator[None]:
    """Within, a failure takes the new run's directory away, so that the next try can use it."""
    try:
        yield
    except BaseException:
        shutil.rmtree(run.path, ignore_errors=True)
        raise
