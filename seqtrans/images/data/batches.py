"""Batches of images: for training, as a pure function of seed and epoch, and for evaluation."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Integer

from seqtrans.images.data.augment import AugmentConfig, augment
from seqtrans.images.data.counter_rng import Draws
from seqtrans.images.data.dataset import ImageSet, select
from seqtrans.images.data.normalize import Normalization, normalize
from seqtrans.images.data.resize import ResizeConfig, resize
from seqtrans.images.data.transforms import mix
from seqtrans.runtime.device import copy_to
from seqtrans.tensor_types import Float, Int, Tensor

_AT_ONCE = 2**16
"""Pixels augmented by one call, possibly those of several batches: for small images the overhead
of a call exceeds its work. Each process does so for the batches of all processes."""


@dataclass(frozen=True)
class ImageBatch:
    """Normalized images and their classes; mixed images have two classes.

    Attributes:
        images: Normalized pixels.
        labels: Class of each image.
        partners: Class of the image mixed into each; None without mixing.
        weights: Weight of each image, from 0 to 1; its partner has the rest. None without mixing.
    """

    images: Float[Tensor, "B channels height width"]
    labels: Int[Tensor, " B"]
    partners: Int[Tensor, " B"] | None = None
    weights: Float[Tensor, " B"] | None = None

    @property
    def num_targets(self) -> int:
        """Images; see ``Batch.num_targets``."""
        return len(self.labels)

    @property
    def num_padded(self) -> int:
        """See ``Batch.num_padded``."""
        return 0

    @property
    def size(self) -> int:
        """See ``Batch.size``."""
        return len(self.labels)

    def halves(self) -> "tuple[ImageBatch, ...]":
        """See ``Batch.halves``; each has two images or more, as batch normalization needs."""
        middle = len(self.labels) // 2
        if middle < 2:
            return (self,)
        return self._images(slice(middle)), self._images(slice(middle, None))

    def _images(self, part: slice) -> "ImageBatch":
        return ImageBatch(
            images=self.images[part],
            labels=self.labels[part],
            partners=None if self.partners is None else self.partners[part],
            weights=None if self.weights is None else self.weights[part],
        )

    def to(self, device: torch.device) -> "ImageBatch":
        """Copy every tensor to ``device``, without waiting for a GPU's queued work."""
        if self.images.device == device:
            return self
        return ImageBatch(
            images=copy_to(self.images, device),
            labels=copy_to(self.labels, device),
            partners=None if self.partners is None else copy_to(self.partners, device),
            weights=None if self.weights is None else copy_to(self.weights, device),
        )


@dataclass(frozen=True, eq=False)
class ImageEpochs:
    """Batches of training images in random order, each image once per epoch.

    The memory format is that of the set (see ``ImageSet.channels_last``).

    Args:
        image_set: Images to learn from.
        batch_size: Images per batch; the last has the rest, but never a single image, on which
            batch normalization fails.
        seed: Seed of order and augmentation, not negative.
        normalisation: Mean and deviation of the channels.
        augmentation: How images are changed.
        resize: Size of the model's input; None: that of the set.
    """

    image_set: ImageSet
    batch_size: int
    seed: int
    normalisation: Normalization
    augmentation: AugmentConfig
    resize: ResizeConfig | None = None

    def batches(self, epoch: int) -> Iterator[Callable[[], ImageBatch]]:
        """Yield functions that build the batches of an epoch; skipping one costs almost nothing."""
        key = np.random.SeedSequence((self.seed, epoch))
        order = np.random.Generator(np.random.PCG64(key)).permutation(len(self.image_set))
        labels = self.image_set.labels[torch.from_numpy(order)]
        draws = Draws(self.seed, epoch, len(self.image_set))
        bounds = [*range(0, len(order), self.batch_size), len(order)]
        if len(bounds) > 2 and bounds[-1] - bounds[-2] == 1 and self.batch_size > 2:
            bounds[-2] -= 1
        together = max(1, _AT_ONCE // (self.batch_size * self.image_set.images[0].numel()))
        for first in range(0, len(bounds) - 1, together):
            ends = bounds[first : first + together + 1]
            images = _Once(partial(self._augmented, order[ends[0] : ends[-1]], draws))
            for start, end in pairwise(ends):
                rows, part = slice(start - ends[0], end - ends[0]), slice(start, end)
                yield partial(self._make, order[part], labels[part], draws, images, rows)

    def largest(self) -> ImageBatch:
        """Return the first batch of the first epoch, which has the most images."""
        return next(self.batches(epoch=0))()

    def _augmented(
        self, numbers: Integer[np.ndarray, " N"], draws: Draws
    ) -> Float[Tensor, "N channels height width"]:
        pixels = select(self.image_set.images, torch.from_numpy(numbers))
        return augment(pixels, numbers, draws, self.augmentation, self.normalisation, self.resize)

    def _make(
        self,
        numbers: Integer[np.ndarray, " B"],
        labels: Int[Tensor, " B"],
        draws: Draws,
        several: "_Once",
        rows: slice,
    ) -> ImageBatch:
        images = several()[rows]
        if not self.augmentation.mixup:
            return ImageBatch(images, labels)
        weights = draws.beta(numbers, self.augmentation.mixup)
        return ImageBatch(mix(images, weights), labels, labels.roll(-1), weights)


class _Once:
    """Images that are built with the first batch of them; ``functools.cache`` takes longer."""

    def __init__(self, make: Callable[[], Float[Tensor, "N channels height width"]]) -> None:
        self._make = make
        self._images: Float[Tensor, "N channels height width"] | None = None

    def __call__(self) -> Float[Tensor, "N channels height width"]:
        if self._images is None:
            self._images = self._make()
        return self._images


def evaluation_batches(
    image_set: ImageSet,
    batch_size: int,
    normalisation: Normalization,
    new_size: ResizeConfig | None = None,
) -> Iterator[ImageBatch]:
    """Yield all images in order, normalized and, if a size is given, resized."""
    parts = image_set.images.split(batch_size), image_set.labels.split(batch_size)
    for images, labels in zip(*parts, strict=True):
        yield ImageBatch(normalize(resize(images, new_size), normalisation), labels)
