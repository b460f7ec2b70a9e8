"""What a recipe gave where it was measured: kept in the recipe, ignored by training."""

from dataclasses import dataclass

from seqtrans.config.types import NonNegativeFloat, Positive, PositiveFloat


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
