"""How to train, everything under ``training:`` in a recipe, and what ``expected:`` it gives."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Lt

from seqtrans.config.types import NonNegative, NonNegativeFloat, Positive, PositiveFloat
from seqtrans.runtime.device import Precision
from seqtrans.training.optim.optimizer_config import (
    AdafactorConfig,
    AdamConfig,
    MuonConfig,
    OptimizerConfig,
    ScheduleFreeAdamWConfig,
)
from seqtrans.training.optim.schedule import (
    ConstantConfig,
    DecayConfig,
    InverseSquareRootConfig,
    Schedule,
    ScheduleConfig,
    build_schedule,
)
from seqtrans.training.stopping import StoppingConfig


@dataclass(frozen=True, kw_only=True)
class CheckpointsConfig:
    """Which checkpoints stay on the disk; one is written after every validation."""

    keep_best: NonNegative = 1  # by stopping.metric
    keep_last: Positive = 1
    keep_every_epoch: bool = False  # also writes one at the end of every epoch
    every_steps: Positive | None = None  # also writes one so often
    average_best: Annotated[int, Ge(2)] | None = None  # how many to average at the end
    average_last: Annotated[int, Ge(2)] | None = None
    """Instead of the best, average so many of the last at the end (arXiv:1706.03762, 6.1). Either
    mean is of the weights that would be used: with ``ema_decay``, of moving averages."""

    def __post_init__(self) -> None:
        """Refuse to average checkpoints that are not kept, and two means."""
        if self.average_best and self.average_last:
            raise ValueError("give average_best or average_last, not both: a run has one mean")
        for name, wanted, kept in (
            ("best", self.average_best, self.keep_best),
            ("last", self.average_last, self.keep_last),
        ):
            if wanted is not None and wanted > kept:
                raise ValueError(
                    f"average_{name} {wanted} needs keep_{name} of as many, not {kept}"
                )


@dataclass(frozen=True, kw_only=True)
class ProcessesConfig:
    """How several processes train together; one alone needs none of it."""

    sharding: Literal["none", "full"] = "none"
    """none: every process holds all weights (DDP, arXiv:2006.15704). full: each keeps an Nth of
    weights, gradients and moments, and fetches the others layer by layer (FSDP,
    arXiv:2304.11277), from the start and before the first of them is on a device: for what is too
    large for one. But while it decodes to validate, and once before training to see that it can,
    each process holds all weights, without gradients or moments; not where no metric needs
    translations. Sizes of batches can't be ``auto``."""
    communication: Literal["fp32", "bf16"] = "fp32"
    """Precision in which gradients travel; bf16 halves the traffic and rounds."""
    batch: Literal["shared", "each"] = "shared"
    """shared: processes divide the micro-batches of ``accumulate`` among them, so that an update
    is the same whatever their number. each: every process takes so many of its own; the update
    grows with their number. Others that go on after a stop begin in the epoch where those ended."""
    timeout_seconds: PositiveFloat = 600.0
    """The longest wait for another process while training; then all stop with one message. While
    they prepare their data, one may take longer, but not go without a sign of life for so long."""

    def shards(self, processes: int) -> bool:
        """Return whether each of so many processes keeps only a part of each weight."""
        return processes > 1 and self.sharding == "full"


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How long and how carefully to train; a *step* is one update of the weights.

    At least one limit must be given; the first that is reached ends the run.
    """

    seed: NonNegative = 1  # of weights, order, dropout: of all randomness
    max_steps: Positive | None = None
    max_epochs: Positive | None = None
    max_minutes: PositiveFloat | None = None  # of training, validation included, resumed or not
    precision: Precision = "auto"  # auto: bf16 where the processor has it
    compile: bool = False  # torch.compile; needs a C++ compiler
    deterministic: bool = True
    """On a GPU take only what gives the same bits each time, so that a stopped run goes on as the
    same; a model for which there is no such way is refused. On a CPU it is always so."""
    clip_norm: PositiveFloat | None = 1.0  # of the whole gradient; None: never clipped
    accumulate: Positive = 1  # micro-batches per update
    ema_decay: Annotated[float, Gt(0.0), Lt(1.0)] | None = None
    """Decay of the exponential moving average of the weights. The average is what is validated, by
    which early stopping and the best checkpoints are decided, and what is used afterwards; training
    goes on with the weights themselves. None: no moving average."""
    freeze: tuple[str, ...] = ()
    """Name patterns of what does not learn, and keeps its statistics: ``"encoder.*"``."""
    thaw: Mapping[str, Annotated[int, Ge(2)]] = field(default_factory=dict[str, int])
    """Name patterns of what is frozen at first, and the epoch in which it begins to learn, counted
    from 1: ``{"encoder.*": 2}``."""
    learning_rates: Mapping[str, PositiveFloat] = field(default_factory=dict[str, float])
    """Factors of the learning rate by name pattern: ``{"encoder.*": 0.1}``; the last one that
    matches a parameter counts, and 1 where none does."""
    optimizer: OptimizerConfig = field(default_factory=AdamConfig)
    schedule: ScheduleConfig = field(default_factory=InverseSquareRootConfig)
    validate_every_steps: Positive | None = None  # None: after every epoch
    log_every_steps: Positive = 50
    processes: ProcessesConfig = field(default_factory=ProcessesConfig)
    stopping: StoppingConfig = field(default_factory=StoppingConfig)
    checkpoints: CheckpointsConfig = field(default_factory=CheckpointsConfig)

    def __post_init__(self) -> None:
        """Refuse a run without end, and a schedule whose end is unknown."""
        if self.max_steps is self.max_epochs is self.max_minutes is None:
            raise ValueError("training needs a limit: max_steps, max_epochs or max_minutes")
        self.build_schedule(lambda _: sys.maxsize)  # how long epochs are, is not known yet
        if isinstance(self.optimizer, ScheduleFreeAdamWConfig):
            self._refuse_second_average()
        if self.processes.sharding == "full":
            self._refuse_unsharded()

    def build_schedule(self, updates_in: Callable[[int], int]) -> Schedule:
        """Build the function that gives the learning rate of every update.

        Args:
            updates_in: Counts the updates of the first epochs; asked if the schedule needs it.

        Raises:
            ValueError: The schedule has no end, or ends within its warm-up.
        """
        peak, schedule, epochs = self.optimizer.learning_rate, self.schedule, self.max_epochs
        by_epochs = isinstance(schedule, DecayConfig) and schedule.horizon == "epochs"
        epoch_steps = updates_in(epochs) if by_epochs and epochs else None
        return build_schedule(schedule, peak, self.max_steps, self.max_minutes, epoch_steps)

    def micro_batches(self, processes: int) -> int:
        """Return the number of micro-batches in an update of so many processes."""
        return self.accumulate * (processes if self.processes.batch == "each" else 1)

    def refuse_unmeasured(self, sizes: Mapping[str, object]) -> None:
        """Refuse sizes of batches that only one process with the whole model could measure.

        Args:
            sizes: By their keys in the recipe.

        Raises:
            ValueError: One is ``auto``, and weights are to be shared out.
        """
        if self.processes.sharding == "none":
            return
        for key, size in sizes.items():
            if size == "auto":
                raise ValueError(
                    f"{key} needs a number where training.processes.sharding is full: what fits "
                    "is measured on a whole model"
                )

    def _refuse_second_average(self) -> None:
        if not isinstance(self.schedule, ConstantConfig):
            raise ValueError(
                f"schedule '{self.schedule.kind}' lowers the learning rate, in place of which "
                "optimizer schedule_free_adamw averages weights: use schedule: {kind: constant}, "
                "with warmup_steps"
            )
        if self.ema_decay is not None:
            raise ValueError(
                "ema_decay averages weights, as optimizer schedule_free_adamw does: leave it out"
            )

    def _refuse_unsharded(self) -> None:
        if self.thaw:
            raise ValueError(
                "processes.sharding full can't thaw: which weights learn is settled when they are "
                "shared out; use sharding none, or two runs with init_from"
            )
        if isinstance(self.optimizer, AdafactorConfig):
            raise ValueError(
                "processes.sharding full needs an optimizer that works weight by weight; "
                "adafactor sums over rows and columns: use adamw"
            )
        if isinstance(self.optimizer, MuonConfig):
            raise ValueError(
                "processes.sharding full needs an optimizer that works weight by weight; "
                "muon multiplies whole matrices: use adamw"
            )


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What the recipe gave where it was measured; ``seqtrans reproduce`` compares with it."""

    score: float
    """Mean over ``seeds`` runs on the test data."""
    spread: NonNegativeFloat
    """A run reproduces the recipe if its score is at most this far from ``score``."""
    seeds: Positive = 1
    """Number of runs with different seeds."""
    minutes: PositiveFloat
    """Duration of the training of one run."""
    machine: str
    """Processor and number of cores on which it took so long."""
    devices: Positive = 1
    """Number of processes that trained together."""
    checkpoint: str = "best"
    """Checkpoint that was scored: best, last, averaged, or a step."""

    @property
    def band(self) -> tuple[float, float]:
        """Lowest and highest score that reproduces the recipe."""
        return self.score - self.spread, self.score + self.spread
