"""The size of an image."""

from typing import NamedTuple


class ImageShape(NamedTuple):
    """What every image that a model sees measures: channels, and pixels each way."""

    channels: int
    height: int
    width: int
