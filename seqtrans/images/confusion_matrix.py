"""Confusion matrix of a classifier: accuracy, precision and recall."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class ClassScore(NamedTuple):
    """Precision and recall of one class.

    Attributes:
        name: Name of the class.
        images: Number of its images.
        precision: Correct share of the predictions of this class; None without predictions.
        recall: Correctly predicted share of its images; None without images.
    """

    name: str
    images: int
    precision: float | None
    recall: float | None


@dataclass(frozen=True)
class Confusion:
    """Confusion matrix.

    Attributes:
        classes: Names of the classes.
        counts: Row i, column j: images of class i that were predicted as class j.
    """

    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    @property
    def total(self) -> int:
        """Number of images."""
        return sum(map(sum, self.counts))

    @property
    def right(self) -> int:
        """Number of images that were predicted correctly."""
        return sum(row[i] for i, row in enumerate(self.counts))

    @property
    def accuracy(self) -> float:
        """Share of the images that were predicted correctly."""
        return self.right / self.total

    def by_class(self) -> list[ClassScore]:
        """Return precision and recall of every class."""
        predicted = [sum(column) for column in zip(*self.counts, strict=True)]
        return [
            ClassScore(name, sum(row), _share(row[i], predicted[i]), _share(row[i], sum(row)))
            for i, (name, row) in enumerate(zip(self.classes, self.counts, strict=True))
        ]


def confusion(
    labels: Sequence[int], predicted: Sequence[int], classes: tuple[str, ...]
) -> Confusion:
    """Count the pairs of true and predicted classes.

    Args:
        labels: Class of each image.
        predicted: Predicted class of each image.
        classes: Names of the classes.
    """
    counts = [[0] * len(classes) for _ in classes]
    for label, prediction in zip(labels, predicted, strict=True):
        counts[label][prediction] += 1
    return Confusion(classes, tuple(map(tuple, counts)))


def _share(part: int, total: int) -> float | None:
    return part / total if total else None
