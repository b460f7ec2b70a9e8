"""Labeled images in memory, and how they are divided."""

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
        """The images of these numbers, in this order, and their labels; copies both."""
        chosen = torch.from_numpy(indices)
        return ImageSet(select(self.images, chosen), self.labels[chosen], self.classes)

    def channels_last(self) -> "ImageSet":
        """The same images with the channels side by side in memory, as convolutions like them.

        Batches made of it have that order too. Once for a set is cheaper than once for a batch.
        """
        return ImageSet(to_channels_last(self.images), self.labels, self.classes)


def has_channels_last(images: Tensor) -> bool:
    """Whether the channels of a pixel lie side by side in memory; of one channel its strides say.

    ``Tensor.is_contiguous`` calls images of one channel both, whatever their strides.
    """
    return images.stride(1) == 1


def to_channels_last(
    images: Shaped[Tensor, "N channels height width"],
) -> Shaped[Tensor, "N channels height width"]:
    """The same pixels with the channels last in memory, and strides that say so."""
    number, channels, height, width = images.shape
    rows = images.permute(0, 2, 3, 1).contiguous()
    # Images of one channel are as they were; the view gives them the strides.
    return rows.flatten().view(number, height, width, channels).permute(0, 3, 1, 2)


def select(
    images: UInt8[Tensor, "N channels height width"], indices: Int[Tensor, " B"]
) -> UInt8[Tensor, "B channels height width"]:
    """Copies of some images; the order in memory is kept."""
    if has_channels_last(images):
        return images.permute(0, 2, 3, 1).index_select(0, indices).permute(0, 3, 1, 2)
    return images.index_select(0, indices)


def split(image_set: ImageSet, fraction: float, seed: int) -> tuple[ImageSet, ImageSet]:
    """Set a share of every class aside, drawn at random: what is left, and what was set aside.

    A pure function. Of N images ``round(fraction * N)`` are set aside; each class gives its share
    of them rounded up or down. Images stay in their order.

    Args:
        image_set: Images to divide; it needs two.
        fraction: Share to set aside, more than 0 and less than 1.
        seed: Decides which, not negative.

    Raises:
        ValueError: One of the two would be empty.
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
    """How many each class gives so that all give ``wanted``; the largest remainders round up."""
    exact = sizes * wanted / sizes.sum()
    shares = np.floor(exact).astype(np.int64)
    up = np.argsort(shares - exact, kind="stable")[: wanted - int(shares.sum())]
    shares[up] += 1
    return shares.tolist()
