"""What happened since the last line of the log."""

import math
import time
from collections import defaultdict
from collections.abc import Sequence

import torch

from seqtrans.protocols import Batch, LossSums, ProcessGroup
from seqtrans.runtime.memory import peak_memory
from seqtrans.tensor_types import Tensor

TIMINGS = frozenset(
    {"targets_per_second", "data_wait_share", "memory_mb", "seconds", "seconds_left"}
)  # numbers that differ from run to run


class MetricAccumulator:
    """Sums over the updates between two lines; tensors are read only when a line is due."""

    def __init__(self) -> None:
        self._sums: dict[str, list[Tensor]] = defaultdict(list)
        self._norms: list[float] = []
        self._targets = 0
        self._padded = 0
        self._waited = 0.0
        self._since = time.monotonic()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to tell."""
        return not self._norms

    def add(self, batch: Batch, sums: LossSums, *, is_padding: bool = False) -> None:
        """Count a micro-batch; of padding only the names, so that all processes have the same."""
        if not is_padding:
            self._targets += batch.num_targets
            self._padded += batch.num_padded
        for name, value in {"loss": sums.loss.detach(), **sums.shown}.items():
            self._sums[name].append(torch.zeros_like(value) if is_padding else value)

    def add_norm(self, norm: float) -> None:
        """Count an update by the norm of its gradient before clipping."""
        self._norms.append(norm)

    def add_wait(self, seconds: float) -> None:
        """Count time spent waiting for data."""
        self._waited += seconds

    def read(self, group: ProcessGroup) -> dict[str, float]:
        """Means over all processes; every process must call it, with the same names."""
        elapsed = time.monotonic() - self._since
        names = sorted(self._sums)
        local = [_total(self._sums[name]) for name in names]
        *totals, targets, padded, waited = group.sum(
            [*local, float(self._targets), float(self._padded), self._waited]
        )
        metrics = {name: total / targets for name, total in zip(names, totals, strict=True)}
        if "nll" in metrics:
            metrics["perplexity"] = math.exp(min(metrics["nll"], 700.0))  # e^710 overflows
        return metrics | {
            "gradient_norm": math.fsum(self._norms) / len(self._norms),
            "padding_share": padded / (targets + padded),
            "targets_per_second": targets / elapsed,
            "data_wait_share": waited / (elapsed * group.world_size),
            "memory_mb": peak_memory() / 1e6,
        }


def _total(values: Sequence[Tensor]) -> float:
    return math.fsum(torch.stack(list(values)).tolist())
