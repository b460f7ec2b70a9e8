"""What the numbers of a checkpoint depend on; a resumed run may have changed some of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from seqtrans.config.trees import flatten

DATA = "data.train"
"""Key of the data to learn from."""


@dataclass(frozen=True)
class Origins:
    """Settings and digests of data, by key of the recipe; what is absent is unknown."""

    kept: Mapping[str, str] = field(default_factory=dict[str, str])
    """Of what a run keeps: what it learns from, and its model."""
    measured: Mapping[str, str] = field(default_factory=dict[str, str])
    """Of what the results of a validation depend on: those of others can't be compared."""
    order: Mapping[str, str] = field(default_factory=dict[str, str])
    """Of what the micro-batches of an epoch depend on: places among others mean something else."""


def differing(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """Return the keys with different values, of those that both have, sorted."""
    return sorted(key for key in one.keys() & other.keys() if one[key] != other[key])


def model_settings(model: object) -> dict[str, str]:
    """Return the settings of a model except dropout, which a resumed run may change."""
    settings = flatten(model, "model")
    return {key: value for key, value in settings.items() if "drop" not in key.rpartition(".")[2]}
