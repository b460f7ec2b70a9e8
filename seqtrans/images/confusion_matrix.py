"""How often which class is taken for which: accuracy, precision and recall."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class ClassScore(NamedTuple):
    """How well one class is recognized.

    Attributes:
        name: Of the class.
        images: Images of it.
        precision: Share of the images called so that are; None where none is called so.
        recall: Share of its images that are called so; None where it has none.
    """

    name: str
    images: int
    precision: float | None
    recall: float | None


@dataclass(frozen=True)
class Confusion:
    """What became of the images of every class.

    Attributes:
        classes: Names of the classes.
        counts: Row i, column j: images of class i that were called class j.
    """

    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    @property
    def total(self) -> int:
        """Images in all."""
        return sum(map(sum, self.counts))

    @property
    def right(self) -> int:
        """Images that were called what they are."""
        return sum(row[i] for i, row in enumerate(self.counts))

    @property
    def accuracy(self) -> float:
        """Share of the images that were called what they are."""
        return self.right / self.total

    def by_class(self) -> list[ClassScore]:
        """Precision and recall of every class."""
        called = [sum(column) for column in zip(*self.counts, strict=True)]
        return [
            ClassScore(name, sum(row), _share(row[i], called[i]), _share(row[i], sum(row)))
            for i, (name, row) in enumerate(zip(self.classes, self.counts, strict=True))
        ]


def confusion(labels: Sequence[int], called: Sequence[int], classes: tuple[str, ...]) -> Confusion:
    """Count what images are, and what they are called.

    Args:
        labels: Class of each image.
        called: Class that it was given.
        classes: Names of the classes.
    """
    counts = [[0] * len(classes) for _ in classes]
    for label, answer in zip(labels, called, strict=True):
        counts[label][answer] += 1
    return Confusion(classes, tuple(map(tuple, counts)))


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
