"""What becomes of the numbers of a checkpoint where a run goes on otherwise than before."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from seqtrans.training.checkpoints.provenance import Origins, differing
from seqtrans.training.checkpoints.store import Record, best_first
from seqtrans.training.state import TrainState
from seqtrans.training.stopping import StoppingConfig, StoppingState

logger = logging.getLogger(__name__)


def recounted(
    state: StoppingState,
    plain: Mapping[str, Any],
    records: Sequence[Record],
    config: StoppingConfig,
    origins: Origins,
) -> StoppingState:
    """Return what patience goes on from; it says where it counts anew.

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
    """Whether the checkpoint counted by the metric of ``config``; older ones don't say by which."""
    if judged := plain.get("judged"):
        return (judged["metric"], judged["maximised"]) == (config.metric, config.is_maximized)
    return best is None or best.value == state.best


def begun_anew(state: TrainState, plain: Mapping[str, Any], origins: Origins) -> TrainState:
    """Return where the run stands, at the start of its epoch where that has other batches now."""
    changed = differing(plain.get("order", {}), origins.order)
    if not changed or not state.updates_in_epoch:
        return state
    logger.warning(
        "%s changed: epoch %d begins anew, as it has other batches now",
        ", ".join(changed),
        state.epoch + 1,
    )
    return replace(state, updates_in_epoch=0, micro_batches_in_epoch=0)
