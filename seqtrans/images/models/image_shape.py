"""The size of an image."""

from typing import NamedTuple


class ImageShape(NamedTuple):
    """Size of a model's input images: channels, height and width in pixels."""

    channels: int
    height: int
    width: int
