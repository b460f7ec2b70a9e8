"""Squares, crosses and circles, drawn by code: images to learn from in seconds."""

import numpy as np

from seqtrans.images.data.dataset import ImageSet

CLASSES = ("square", "cross", "circle")
SIDE = 12


def shapes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Outlines of 7 or 9 pixels across, near the middle, of random ink, in noise.

    Returns:
        The images, uint8 (count, 12, 12), and the number of each one's class.
    """
    draw = np.random.default_rng(seed)
    labels = draw.integers(3, size=count)
    row, column = draw.integers(5, 7, size=(2, count, 1, 1))
    radius = draw.integers(3, 5, size=(count, 1, 1))
    place = np.arange(SIDE)
    down, right = abs(place[:, None] - row), abs(place - column)
    farther = np.maximum(down, right)
    drawn = np.stack(
        [
            farther == radius,
            (down == right) & (farther <= radius),
            abs(np.hypot(down, right) - radius) < 0.5,
        ]
    )
    ink = draw.integers(120, 200, size=(count, 1, 1))
    noise = draw.integers(50, size=(count, SIDE, SIDE))
    images = drawn[labels, np.arange(count)] * ink + noise
    return images.astype(np.uint8), labels


def shape_set(count: int, seed: int) -> ImageSet:
    """The same in memory, as a task takes them."""
    import torch

    images, labels = shapes(count, seed)
    return ImageSet(torch.from_numpy(images)[:, None], torch.from_numpy(labels), CLASSES)


def write_shapes(path, count: int, seed: int) -> None:
    """The same as a file of NumPy."""
    images, labels = shapes(count, seed)
    np.savez(path, images=images, labels=labels)
