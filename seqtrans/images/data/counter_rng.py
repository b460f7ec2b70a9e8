"""Random numbers that are a pure function of seed, epoch and image."""

from collections.abc import Callable
from enum import IntEnum

import numpy as np
import torch
from jaxtyping import Integer

from seqtrans.runtime.seeds import splitmix64
from seqtrans.tensor_types import Float, Int, Tensor

_IMAGES = 40
"""Bits of a position that number the image; the others number the draw."""


class Draw(IntEnum):
    """What a random number decides. The last may take any number of them."""

    TOP = 0
    LEFT = 1
    FLIP = 2
    ANGLE = 3
    ROW = 4
    COLUMN = 5
    MIXUP = 6


class Draws:
    """Uniform numbers of every image in an epoch, in any order and in any company.

    A number is an element of the sequence ``splitmix64``, computed without those before it.

    Args:
        seed: Seed of the run, not negative.
        epoch: Number of the epoch, not negative.
        count: Images there are: what is asked for is then drawn for all at once, which takes small
            batches less time; None: for each batch by itself. The numbers are the same.
    """

    def __init__(self, seed: int, epoch: int, count: int | None = None) -> None:
        self._images = None if count is None else np.arange(count)
        self._drawn: dict[tuple[int, float], Float[Tensor, " N"]] = {}
        key = np.random.SeedSequence((seed, epoch, 1))  # without the 1 it gives the order of images
        self._start = key.generate_state(1, np.uint64)  # an array, for those may overflow

    def uniform(self, images: Integer[np.ndarray, " B"], number: int) -> Float[Tensor, " B"]:
        """Draw fp64 numbers from [0, 1); ``number`` distinguishes the draws of an image."""
        return self._of(images, number, lambda some: self._uniform(some, number))

    def _uniform(self, images: Integer[np.ndarray, " B"], number: int) -> Float[Tensor, " B"]:
        position = images.astype(np.uint64) + np.uint64((number << _IMAGES) + 1)
        words = splitmix64(self._start, position)
        return torch.from_numpy((words >> np.uint64(11)) * 2.0**-53)

    def below(
        self, images: Integer[np.ndarray, " B"], number: int, limit: int
    ) -> Int[Tensor, " B"]:
        """Draw integers from 0 to ``limit - 1``."""
        return (self.uniform(images, number) * limit).long()

    def beta(self, images: Integer[np.ndarray, " B"], alpha: float) -> Float[Tensor, " B"]:
        """Draw from the distribution Beta(alpha, alpha); it uses the draws from ``MIXUP`` on.

        Results are computed in fp64, whose last digits may depend on an image's position in the
        batch, and rounded to fp32, which removes the difference.

        Up to 1/2 by Jöhnk's method, above by Ulrich's (Devroye 1986, "Non-uniform random variate
        generation", IX.3.5 and IX.4.2).
        """
        return self._of(images, Draw.MIXUP, lambda some: self._beta(some, alpha), alpha)

    def _beta(self, images: Integer[np.ndarray, " B"], alpha: float) -> Float[Tensor, " B"]:
        if alpha > 0.5:
            radius = (1 - self._uniform(images, Draw.MIXUP) ** (2 / (2 * alpha - 1))).sqrt()
            turn = 2 * torch.pi * self._uniform(images, Draw.MIXUP + 1)
            return (0.5 + 0.5 * radius * turn.cos()).float()
        values = torch.empty(len(images), dtype=torch.float64)
        missing, number = np.arange(len(images)), int(Draw.MIXUP)
        while len(missing):  # at least 78 % of them succeed each time
            # Half a step keeps 0 out, of which there is no logarithm.
            uniform = [self._uniform(images[missing], number + i) + 2.0**-54 for i in (0, 1)]
            logs = [numbers.log() / alpha for numbers in uniform]
            values[missing] = (logs[0] - logs[1]).sigmoid()
            accepted = logs[0].exp() + logs[1].exp() <= 1
            missing, number = missing[~accepted.numpy()], number + 2
        return values.float()

    def _of(
        self,
        images: Integer[np.ndarray, " B"],
        number: int,
        draw: Callable[[Integer[np.ndarray, " some"]], Float[Tensor, " some"]],
        alpha: float = 0.0,
    ) -> Float[Tensor, " B"]:
        """Return ``draw`` of images; if the number of all images is known, it is cached."""
        if self._images is None:
            return draw(images)
        if (number, alpha) not in self._drawn:
            self._drawn[number, alpha] = draw(self._images)
        return self._drawn[number, alpha][torch.from_numpy(images)]
