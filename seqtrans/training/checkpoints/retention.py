"""Which checkpoints stay."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from seqtrans.training.checkpoints.provenance import differing
from seqtrans.training.config import CheckpointsConfig
from seqtrans.training.early_stopping import StoppingConfig


@dataclass(frozen=True)
class Record:
    """What is known of one checkpoint."""

    step: int
    value: float | None = None  # of the stopping metric; None: not validated
    ends_epoch: bool = False
    loss: float | None = None  # of the same validation
    measured: Mapping[str, str] = field(default_factory=dict[str, str])  # see ``Origins``


def best_first(records: Sequence[Record], stopping: StoppingConfig) -> list[Record]:
    """Validated checkpoints, best first: where equal, of the lower loss; else the earliest.

    Those that were measured otherwise than the newest, as on other data, are left out. NaN is no
    value.
    """
    validated = [(r.value, r) for r in records if r.value is not None and r.value == r.value]
    newest = max((r for _, r in validated), key=lambda r: r.step, default=Record(0))
    alike = [
        (stopping.order(value, record.loss), record)
        for value, record in validated
        if not differing(record.measured, newest.measured)
    ]
    return [record for _, record in sorted(alike, key=lambda pair: (pair[0], pair[1].step))]


def steps_to_delete(
    records: Sequence[Record], config: CheckpointsConfig, stopping: StoppingConfig
) -> list[int]:
    """Steps of the checkpoints that need not be kept."""
    kept = {r.step for r in best_first(records, stopping)[: config.keep_best]}
    kept |= set(sorted(r.step for r in records)[-config.keep_last :])
    if config.keep_every_epoch:
        kept |= {r.step for r in records if r.ends_epoch}
    return sorted({r.step for r in records} - kept)
