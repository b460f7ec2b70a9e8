"""Numbers made from sums."""

import math


def perplexity(loss: float) -> float:
    """``exp`` of a mean negative log-likelihood in nats; infinite where it can't be held."""
    return math.exp(loss) if loss < 700 else math.inf if loss == loss else math.nan  # noqa: PLR0124 - NaN is unequal to itself
