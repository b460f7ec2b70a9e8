"""Types of the numbers in a recipe, with the range each must lie in.

They annotate the fields of config dataclasses; ``config`` checks them when it reads a recipe,
so that every value out of range is reported with its line.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from annotated_types import Ge, Gt, Le, Lt

MAY_BE_INFINITE: Final = "may be infinite, or no number"
"""Marks a number that is measured, not chosen: recipes hold finite ones only."""

AnyFloat = Annotated[float, MAY_BE_INFINITE]
Count = Annotated[int, Ge(0), Lt(1 << 53)]
"""Of steps, bytes and the like: any that a float can hold, too."""
Positive = Annotated[int, Ge(1)]
NonNegative = Annotated[int, Ge(0)]
PositiveFloat = Annotated[float, Gt(0.0)]
NonNegativeFloat = Annotated[float, Ge(0.0)]
Probability = Annotated[float, Ge(0.0), Lt(1.0)]
Fraction = Annotated[float, Ge(0.0), Le(1.0)]
Size = Positive | Literal["auto"]
"""A batch size; ``auto`` is measured before training begins and stored as a number."""


@dataclass(frozen=True)
class Untagged:
    """Annotates a union of dataclasses whose discriminator, ``kind``, may be left out.

    ``complete`` takes a mapping without it and returns one with it.
    """

    complete: Callable[[dict[str, Any]], dict[str, Any]]
