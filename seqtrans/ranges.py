"""Types of the numbers a recipe may hold, with the range each must lie in.

They annotate the fields of config dataclasses; ``config`` checks them when it reads a recipe,
so that every value out of range is reported with its line.
"""

from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

Positive = Annotated[int, Ge(1)]
NonNegative = Annotated[int, Ge(0)]
PositiveFloat = Annotated[float, Gt(0.0)]
NonNegativeFloat = Annotated[float, Ge(0.0)]
Probability = Annotated[float, Ge(0.0), Lt(1.0)]
Fraction = Annotated[float, Ge(0.0), Le(1.0)]
