"""Perplexity."""

import math


def perplexity(loss: float) -> float:
    """Return ``exp`` of a mean negative log-likelihood in nats; infinity on overflow."""
    return math.exp(loss) if loss < 700 else math.inf if loss == loss else math.nan  # noqa: PLR0124 - NaN is unequal to itself
