"""Which checkpoints stay."""

from collections.abc import Sequence
from dataclasses import dataclass

from seqtrans.training.config import CheckpointsConfig
from seqtrans.training.early_stopping import StoppingConfig


@dataclass(frozen=True)
class Record:
    """What is known of one checkpoint."""

    step: int
    value: float | None = None  # of the stopping metric; None: not validated
    ends_epoch: bool = False


def best_first(records: Sequence[Record], stopping: StoppingConfig) -> list[Record]:
    """Validated checkpoints, best first and, where equal, the earliest first. NaN is no value."""
    sign = -1.0 if stopping.is_maximised else 1.0
    validated = [(r.value, r) for r in records if r.value is not None and r.value == r.value]
    return [r for _, r in sorted(validated, key=lambda pair: (sign * pair[0], pair[1].step))]


def superfluous(
    records: Sequence[Record], config: CheckpointsConfig, stopping: StoppingConfig
) -> list[int]:
    """Steps of the checkpoints that need not be kept."""
    kept = {r.step for r in best_first(records, stopping)[: config.keep_best]}
    kept |= set(sorted(r.step for r in records)[-config.keep_last :])
    if config.keep_every_epoch:
        kept |= {r.step for r in records if r.ends_epoch}
    return sorted({r.step for r in records} - kept)
