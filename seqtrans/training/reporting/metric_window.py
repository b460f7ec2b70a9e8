"""What is logged of the updates since the last line."""

import math
import time
from collections import defaultdict
from dataclasses import dataclass, field

import torch

from seqtrans.protocols import ProcessGroup
from seqtrans.runtime.memory import peak_memory
from seqtrans.tensor_types import Tensor
from seqtrans.training.train_step import StepResult

TIMINGS = frozenset(
    {"targets_per_second", "data_wait_share", "memory_mb", "seconds", "seconds_left"}
)  # numbers that differ from run to run


@dataclass
class MetricWindow:
    """The updates between two lines of the log; tensors are read only when a line is due."""

    updates: list[StepResult] = field(default_factory=list[StepResult])
    waited: float = 0.0  # seconds, for data
    began: float = field(default_factory=lambda: time.monotonic())

    def read(self, group: ProcessGroup) -> dict[str, float]:
        """Return means over all processes; every process must call it, with the same names."""
        elapsed = time.monotonic() - self.began
        parts = [part for update in self.updates for part in update.parts]
        sums: dict[str, list[Tensor]] = defaultdict(list)
        for part in parts:
            for name, value in {"loss": part.sums.loss, **part.sums.shown}.items():
                sums[name].append(value)
        names = sorted(sums)
        local = [math.fsum(torch.stack(sums[name]).tolist()) for name in names]
        counts = sum(part.num_targets for part in parts), sum(part.num_padded for part in parts)
        *totals, targets, padded, waited = group.sum([*local, *map(float, counts), self.waited])
        metrics = {name: total / targets for name, total in zip(names, totals, strict=True)}
        if "nll" in metrics:
            metrics["perplexity"] = math.exp(min(metrics["nll"], 700.0))  # e^710 overflows
        norms = [update.gradient_norm for update in self.updates]
        return metrics | {
            "gradient_norm": math.fsum(norms) / len(norms),
            "padding_share": padded / (targets + padded),
            "targets_per_second": targets / elapsed,
            "data_wait_share": waited / (elapsed * group.world_size),
            "memory_mb": peak_memory() / 1e6,
        }
