"""What a resumed run may change: refuse what it may not, count again what has lost its meaning."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from seqtrans.config.trees import dotted, named_paths
from seqtrans.errors import CheckpointError
from seqtrans.training.checkpoints import format as checkpoint
from seqtrans.training.checkpoints.provenance import DATA, Origins, differing
from seqtrans.training.checkpoints.run_directory import RunDirectory
from seqtrans.training.checkpoints.store import Record, best_first
from seqtrans.training.state import TrainState
from seqtrans.training.stopping import StoppingConfig, StoppingState

logger = logging.getLogger(__name__)


def refuse_changes(
    run: RunDirectory, origins: Origins, recipe: object, choice: Sequence[str] = ()
) -> None:
    """Refuse to resume with other training data, or as another model.

    Args:
        run: The run to resume; it may be new.
        origins: Those of the resumed run.
        recipe: Recipe of the resumed run, for the names of its files.
        choice: Keys that select among the data: if one of these was changed, the error names it
            and not the data.

    Raises:
        CheckpointError: They differ from those of the newest checkpoint.
    """
    before = _kept_by(run)
    changed = _keys_to_name(differing(before, origins.kept), choice)
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


def _keys_to_name(changed: list[str], choice: Sequence[str]) -> list[str]:
    """Return which of the changed keys to name in the error."""
    chosen = [key for key in changed if key in choice]
    if DATA in changed and chosen:
        return chosen
    return [key for key in changed if key not in chosen]


def _file_names(recipe: object) -> dict[str, str]:
    """Return the files that a recipe names, by key; all training data also under ``DATA``."""
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


def recounted(
    state: StoppingState,
    plain: Mapping[str, Any],
    records: Sequence[Record],
    config: StoppingConfig,
    origins: Origins,
) -> StoppingState:
    """Return the state of early stopping, reset if its counts are no longer valid; log that.

    Args:
        state: As the checkpoint has it.
        plain: Plain values of the checkpoint.
        records: Of all checkpoints, by the metric of ``config``.
        config: What counts now.
        origins: What results depend on now.
    """
    if state.best is None:
        return state
    if changed := differing(plain.get("measured", {}), origins.measured):
        logger.warning(
            "%s changed: results from before can't be compared; best and patience begin anew",
            ", ".join(changed),
        )
        return StoppingState()
    there = next((record for record in records if record.step == state.best_step), None)
    if _was_metric(plain, config, state, there):
        known = there.loss if there else None
        return state if state.loss is not None else replace(state, loss=known)
    best = next(iter(best_first(records, config)), None)
    so_far = f"the best so far has {best.value:.4g}, after step {best.step:,}" if best else ""
    logger.warning(
        "stopping.metric is %s now: patience begins anew; %s",
        config.metric,
        so_far or "no checkpoint was measured by it",
    )
    return StoppingState(best.value, best.step, 0, best.loss) if best else StoppingState()


def _was_metric(
    plain: Mapping[str, Any], config: StoppingConfig, state: StoppingState, best: Record | None
) -> bool:
    """Return whether the checkpoint counted by the metric of ``config``; older ones don't tell."""
    if judged := plain.get("judged"):
        return (judged["metric"], judged["maximised"]) == (config.metric, config.is_maximized)
    return best is None or best.value == state.best


def begun_anew(state: TrainState, plain: Mapping[str, Any], origins: Origins) -> TrainState:
    """Return the state, set to the start of its epoch if that has other batches now."""
    changed = differing(plain.get("order", {}), origins.order)
    if not changed or not state.updates_in_epoch:
        return state
    logger.warning(
        "%s changed: epoch %d begins anew, as it has other batches now",
        ", ".join(changed),
        state.epoch + 1,
    )
    return replace(state, updates_in_epoch=0, micro_batches_in_epoch=0)
