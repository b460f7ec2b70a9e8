"""Labeled images in memory, and splitting them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int as IntArray

from seqtrans.tensor_types import Int, Shaped, Tensor, UInt8


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of one size with their classes, decoded once.

    Attributes:
        images: Pixels from 0 to 255; contiguous, or with the channels last in memory.
        labels: Class of every image, an index into ``classes``.
        classes: Names of the classes.
    """

    images: UInt8[Tensor, "N channels height width"]
    labels: Int[Tensor, " N"]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: IntArray[np.ndarray, " M"]) -> "ImageSet":
        """Return copies of the images with these numbers, in this order, and of their labels."""
        chosen = torch.from_numpy(indices)
        return ImageSet(select(self.images, chosen), self.labels[chosen], self.classes)

    def channels_last(self) -> "ImageSet":
        """Return the same images in channels-last memory format, which is faster in convolutions.

        Its batches have that format too. Converting the set once is cheaper than every batch.
        """
        return ImageSet(to_channels_last(self.images), self.labels, self.classes)


def has_channels_last(images: Tensor) -> bool:
    """Return whether images have channels-last memory format, according to their strides.

    For images of one channel ``Tensor.is_contiguous`` is true for both formats.
    """
    return images.stride(1) == 1


def to_channels_last(
    images: Shaped[Tensor, "N channels height width"],
) -> Shaped[Tensor, "N channels height width"]:
    """Return the same pixels in channels-last memory format, with matching strides."""
    number, channels, height, width = images.shape
    rows = images.permute(0, 2, 3, 1).contiguous()
    # For one channel the data is unchanged; the view sets the strides.
    return rows.flatten().view(number, height, width, channels).permute(0, 3, 1, 2)


def select(
    images: UInt8[Tensor, "N channels height width"], indices: Int[Tensor, " B"]
) -> UInt8[Tensor, "B channels height width"]:
    """Copy some images; the memory format is kept."""
    if has_channels_last(images):
        return images.permute(0, 2, 3, 1).index_select(0, indices).permute(0, 3, 1, 2)
    return images.index_select(0, indices)


def split(image_set: ImageSet, fraction: float, seed: int) -> tuple[ImageSet, ImageSet]:
    """Set aside a random share of every class; return the rest and what was set aside.

    It is a pure function. Of N images ``round(fraction * N)`` are set aside; each class contributes
    its share of them, rounded up or down. The order of images is kept.

    Args:
        image_set: At least two images.
        fraction: Share to set aside, more than 0 and less than 1.
        seed: Seed of the choice, not negative.

    Raises:
        ValueError: One of the two results would be empty.
    """
    wanted = round(fraction * len(image_set))
    if not 0 < wanted < len(image_set):
        raise ValueError(
            f"a fraction of {fraction:g} sets {wanted} of {len(image_set)} images aside; "
            "both parts need at least one"
        )
    labels = image_set.labels.numpy()
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))
    sizes = np.bincount(labels, minlength=len(image_set.classes))
    aside = np.zeros(len(labels), dtype=bool)
    for label, count in enumerate(_shares(sizes, wanted)):
        members = np.flatnonzero(labels == label)
        aside[generator.permutation(members)[:count]] = True
    return image_set.take(np.flatnonzero(~aside)), image_set.take(np.flatnonzero(aside))


def _shares(sizes: IntArray[np.ndarray, " C"], wanted: int) -> Sequence[int]:
    """Distribute ``wanted`` over the classes; the largest remainders are rounded up."""
    exact = sizes * wanted / sizes.sum()
    shares = np.floor(exact).astype(np.int64)
    up = np.argsort(shares - exact, kind="stable")[: wanted - int(shares.sum())]
    shares[up] += 1
    return shares.tolist()
