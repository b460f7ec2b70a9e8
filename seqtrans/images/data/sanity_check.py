"""Sanity check of images in memory: can the classes be distinguished at all?"""

from collections.abc import Iterator

from seqtrans.images.data.dataset import ImageSet

_BLOCK = 1024
"""Images checked at a time."""
_FLAT = 2
"""Largest difference of values, of 255, in an image of one color."""
_MANY = 0.5
"""Share of images of one color that is reported."""


def doubts(image_set: ImageSet) -> Iterator[str]:
    """Yield warnings: most images are of one color, or all are the same."""
    count, flat, same = len(image_set), 0, 0
    if count < 2:
        return
    for block in image_set.images.split(_BLOCK):
        rows = block.flatten(2)
        flat += int((rows.amax(2) - rows.amin(2) <= _FLAT).all(dim=1).sum())
        same += int((block == image_set.images[:1]).flatten(1).all(dim=1).sum())
    if same == count:
        yield f"all {count:,} images are identical"
    elif flat > _MANY * count:
        yield (
            f"{flat:,} of {count:,} images have only one color, or nearly: check them, and "
            "data.background if they are transparent"
        )
