"""Confidence intervals and paired significance tests, from a metric's counts of every line.

The bootstrap draws as many lines with replacement (Koehn 2004), randomization swaps lines of two
systems (Riezler and Maxwell 2005). Random numbers are drawn as sacreBLEU draws them, so intervals
are the same. So are p-values, unless a difference of samples equals that of the texts, which
sacreBLEU does not count.
"""

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqtrans.errors import DataError
from seqtrans.translation.evaluation.metrics import PairedTestName

BOOTSTRAP_SAMPLES = 1000
SWAPS = 10_000
SEED = "12345"

Numbers = NDArray[np.float64]
Counts = Numbers
"""A row for every line; the score of a text comes from the sum of its rows."""
ScoreOf = Callable[[Sequence[float]], float]
"""A score from a sum of rows."""

_TIE = 1e-9  # scores that differ by less are equal but for rounding
_TOGETHER = 32  # swaps drawn at once: by any multiple of 32 the numbers are the same


class Certainty(NamedTuple):
    """Interval and p-value of a score.

    Attributes:
        mean: Mean of the scores of bootstrap samples.
        half_width: Half the width of their 95 % interval.
        p_value: Probability of a difference from the first system as large as this by chance.
        settings: Settings of the computation, for the signature.
    """

    mean: float | None = None
    half_width: float | None = None
    p_value: float | None = None
    settings: tuple[tuple[str, str | int], ...] = ()


def certainties(
    systems: Sequence[Sequence[Sequence[float]]],
    score: ScoreOf,
    *,
    resampled: bool,
    paired: PairedTestName | None,
) -> list[Certainty]:
    """Estimate intervals, and test every system against the first.

    Args:
        systems: Counts of a metric in every line of each system.
        score: The metric.
        resampled: Whether to estimate intervals; the test ``bootstrap`` needs them.
        paired: The test; None: no test.

    Raises:
        DataError: ``SACREBLEU_SEED`` is not a seed.
    """
    if not (resampled or paired):
        return [Certainty() for _ in systems]
    name, seed = _seed()
    every = [np.array(counts, dtype=np.float64) for counts in systems]
    results = [Certainty() for _ in every]
    samples = [bootstrap(counts, score, seed) for counts in every] if resampled else []
    for i, scores in enumerate(samples):
        results[i] = Certainty(*interval(scores), None, (("bs", len(scores)), ("seed", name)))
    for i, counts in enumerate(every[1:] if paired else [], start=1):
        if paired == "bootstrap":
            difference = abs(_total(counts, score) - _total(every[0], score))
            p_value = bootstrap_test(samples[0], samples[i], difference)
            results[i] = results[i]._replace(p_value=p_value)
            continue
        p_value, swaps = randomization_test(every[0], counts, score, seed)
        drawn = (("ar", swaps), ("seed", name)) if swaps else (("ar", "exact"),)
        settings = (*results[i].settings, *drawn)
        results[i] = results[i]._replace(p_value=p_value, settings=settings)
    return results


def bootstrap(counts: Counts, score: ScoreOf, seed: int) -> Numbers:
    """Return the scores of bootstrap samples; the same seed draws the same lines."""
    draw, lines = np.random.default_rng(seed), len(counts)
    times = (
        np.bincount(draw.choice(lines, size=lines), minlength=lines)
        for _ in range(BOOTSTRAP_SAMPLES)
    )
    return np.array([score((drawn @ counts).tolist()) for drawn in times])


def interval(scores: Numbers) -> tuple[float, float]:
    """Return mean and half width of the 95 % interval of the scores of samples."""
    ordered, outside = np.sort(scores), len(scores) // 40
    return float(scores.mean()), float(ordered[-1 - outside] - ordered[outside]) / 2


def bootstrap_test(first: Numbers, second: Numbers, difference: float) -> float:
    """Return the probability of so large a difference by chance.

    Args:
        first: Scores of samples of the first system.
        second: Scores of the same samples of the second system.
        difference: Absolute difference of the scores of the complete texts.
    """
    differences = np.abs(second - first)
    hits = np.count_nonzero(differences - differences.mean() >= difference - _TIE)
    return (int(hits) + 1) / (len(differences) + 1)


def randomization_test(
    first: Counts, second: Counts, score: ScoreOf, seed: int
) -> tuple[float, int]:
    """Return the probability of so large a difference by swapping lines, and the number of trials.

    If few lines differ, all ways to swap them are counted: the probability is exact, and the number
    of trials 0.
    """
    different = np.flatnonzero((first != second).any(axis=1))
    change = second[different] - first[different]
    sums = first.sum(axis=0), second.sum(axis=0)
    difference = abs(score(sums[0].tolist()) - score(sums[1].tolist()))

    def hits(swaps: NDArray[np.bool_]) -> int:
        moved = swaps @ change
        pairs = zip((sums[0] + moved).tolist(), (sums[1] - moved).tolist(), strict=True)
        return sum(abs(score(a) - score(b)) >= difference - _TIE for a, b in pairs)

    ways = 2 ** max(0, len(different) - 1)  # swapping all other lines gives the same
    if ways <= SWAPS:
        swapped = (np.arange(ways)[:, None] >> np.arange(len(different)) & 1).astype(bool)
        return hits(swapped) / ways, 0
    draw, count = np.random.default_rng(seed), 0
    for start in range(0, SWAPS, _TOGETHER):
        size = min(_TOGETHER, SWAPS - start), len(first)
        count += hits(~draw.integers(2, size=size, dtype=np.bool_)[:, different])
    return (count + 1) / (SWAPS + 1), SWAPS


def _total(counts: Counts, score: ScoreOf) -> float:
    return score(counts.sum(axis=0).tolist())


def _seed() -> tuple[str, int]:
    """Return ``SACREBLEU_SEED`` or its default, and the seed; ``none`` is a random seed."""
    name = os.environ.get("SACREBLEU_SEED", SEED).lower()
    if name == "none":
        return name, int(np.random.SeedSequence().generate_state(1)[0])
    if not (name.isascii() and name.isdecimal()):
        raise DataError(f"SACREBLEU_SEED is '{name}': set it to a whole number or to none")
    return name, int(name)
