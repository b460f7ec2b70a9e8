"""The model of keras-digits.yaml: a small convolutional network, in Keras."""

import keras
from keras import layers


def build(
    shape: tuple[int, int, int], num_classes: int, filters: int = 32, dropout: float = 0.3
) -> keras.Model:
    """Two blocks of two convolutions each, and a hidden layer.

    Args:
        shape: Height, width and channels of an image.
        num_classes: Logits to return.
        filters: Channels of the first block; the second has twice as many.
        dropout: Share of the features that are dropped before each of the last two layers.
    """
    model = keras.Sequential([layers.Input(shape)])
    for width in (filters, 2 * filters):
        for _ in range(2):
            model.add(layers.Conv2D(width, 3, padding="same", use_bias=False))
            model.add(layers.BatchNormalization(momentum=0.9))
            model.add(layers.Activation("relu"))
        model.add(layers.MaxPooling2D())
    model.add(layers.Flatten())
    model.add(layers.Dropout(dropout))
    model.add(layers.Dense(128, activation="relu"))
    model.add(layers.Dropout(dropout))
    model.add(layers.Dense(num_classes, name="logits"))
    return model
