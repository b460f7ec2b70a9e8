"""A look at images in memory: whether they can be told apart at all."""

from collections.abc import Iterator

from seqtrans.images.data.dataset import ImageSet

_BLOCK = 1024
"""Images that are looked at at once."""
_FLAT = 2
"""Most that the values of an image of one color differ, of 255."""
_MANY = 0.5
"""Share of images of one color that is worth a word."""


def doubts(image_set: ImageSet) -> Iterator[str]:
    """Say what makes images hard to tell apart: most are of one color, or all are the same."""
    count, flat, same = len(image_set), 0, 0
    if count < 2:
        return
    for block in image_set.images.split(_BLOCK):
        rows = block.flatten(2)
        flat += int((rows.amax(2) - rows.amin(2) <= _FLAT).all(dim=1).sum())
        same += int((block == image_set.images[:1]).flatten(1).all(dim=1).sum())
    if same == count:
        yield f"all {count:,} images are the same: nothing tells the classes apart"
    elif flat > _MANY * count:
        yield (
            f"{flat:,} of {count:,} images are of one color, or nearly (values from 0 to 255 that "
            f"differ by {_FLAT} at most): look at them, and at data.background if they are "
            "transparent"
        )
