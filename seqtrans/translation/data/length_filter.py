"""Leave out sentence pairs by their lengths, and report how many."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

import numpy as np
from annotated_types import Ge
from jaxtyping import Int, UInt8

from seqtrans.config.types import Positive


@dataclass(frozen=True, kw_only=True)
class FilterConfig:
    """Which pairs are left out, by their lengths in tokens, without BOS and EOS."""

    min_tokens: Positive = 1
    """Fewest tokens either side may have."""
    max_tokens: Positive = 256
    """Most tokens either side may have."""
    max_ratio: Annotated[float, Ge(1.0)] | None = None
    """Most times one side may be longer than the other; nothing is dropped if null."""

    def __post_init__(self) -> None:
        if self.min_tokens > self.max_tokens:
            raise ValueError(
                f"min_tokens {self.min_tokens} must not exceed max_tokens {self.max_tokens}"
            )


class Cause(IntEnum):
    """Why a pair is left out; ``KEPT`` if it is not. Of several causes the first counts."""

    KEPT = 0
    EMPTY_SOURCE = 1
    EMPTY_TARGET = 2
    SHORT_SOURCE = 3
    SHORT_TARGET = 4
    LONG_SOURCE = 5
    LONG_TARGET = 6
    RATIO = 7


_NAMES = {
    Cause.EMPTY_SOURCE: "empty source",
    Cause.EMPTY_TARGET: "empty target",
    Cause.SHORT_SOURCE: "source too short",
    Cause.SHORT_TARGET: "target too short",
    Cause.LONG_SOURCE: "source too long",
    Cause.LONG_TARGET: "target too long",
    Cause.RATIO: "lengths too different",
}


def classify(
    source_lengths: Int[np.ndarray, " N"],
    target_lengths: Int[np.ndarray, " N"],
    config: FilterConfig,
) -> UInt8[np.ndarray, " N"]:
    """Return the ``Cause`` of every pair from its lengths in tokens, without BOS and EOS."""
    shorter = np.minimum(source_lengths, target_lengths)
    longer = np.maximum(source_lengths, target_lengths)
    ratio = np.inf if config.max_ratio is None else config.max_ratio
    applies = {  # in the order in which causes count
        Cause.EMPTY_SOURCE: source_lengths == 0,
        Cause.EMPTY_TARGET: target_lengths == 0,
        Cause.SHORT_SOURCE: source_lengths < config.min_tokens,
        Cause.SHORT_TARGET: target_lengths < config.min_tokens,
        Cause.LONG_SOURCE: source_lengths > config.max_tokens,
        Cause.LONG_TARGET: target_lengths > config.max_tokens,
        Cause.RATIO: longer > np.maximum(shorter, 1) * ratio,
    }
    codes = [np.uint8(cause) for cause in applies]
    return np.select(list(applies.values()), codes, default=np.uint8(Cause.KEPT))


@dataclass(frozen=True)
class DropReport:
    """Number of pairs kept, and left out by cause. Reports can be added."""

    counts: Mapping[Cause, int]
    """Number of pairs by cause; 0 if absent."""

    @classmethod
    def of(cls, causes: UInt8[np.ndarray, " N"]) -> "DropReport":
        """Count what ``classify`` returned."""
        counts = np.bincount(causes, minlength=len(Cause))
        return cls({cause: int(counts[cause]) for cause in Cause})

    @classmethod
    def from_dict(cls, counts: Mapping[str, int]) -> "DropReport":
        """Undo ``as_dict``."""
        return cls({cause: counts.get(cause.name.lower(), 0) for cause in Cause})

    def as_dict(self) -> dict[str, int]:
        """Return counts by the lower-case name of the cause, for JSON."""
        return {cause.name.lower(): self.counts.get(cause, 0) for cause in Cause}

    def __add__(self, other: "DropReport") -> "DropReport":
        both = (self.counts, other.counts)
        return DropReport({cause: sum(c.get(cause, 0) for c in both) for cause in Cause})

    @property
    def total(self) -> int:
        """Number of all pairs."""
        return sum(self.counts.values())

    @property
    def kept(self) -> int:
        """Number of pairs not left out."""
        return self.counts.get(Cause.KEPT, 0)

    def __str__(self) -> str:
        """Return one line for a log."""
        dropped = self.total - self.kept
        summary = f"{self.total:,} pairs, {self.kept:,} kept, {dropped:,} dropped"
        causes = [f"{n:,} {name}" for c, name in _NAMES.items() if (n := self.counts.get(c, 0))]
        return f"{summary}: {', '.join(causes)}" if causes else summary
