"""The model of finetune-resnet50.yaml: Keras's ResNet-50 with a new last layer."""

import keras
from keras import layers


def build(shape: tuple[int, int, int], num_classes: int, momentum: float = 0.9) -> keras.Model:
    """ResNet-50 (arXiv:1512.03385) without weights, a mean over all positions, logits.

    Keras's weights for it are of images whose channels are blue, green, red.

    Args:
        shape: Height, width and channels of an image; three channels, 32 pixels or more.
        num_classes: Logits to return.
        momentum: Of the moving statistics; Keras's 0.99 is slow for a short training.
    """
    images = layers.Input(shape)
    base = keras.applications.ResNet50(
        weights=None,
        include_top=False,
        pooling="avg",
        input_tensor=keras.ops.flip(images, axis=-1),
    )
    for layer in base.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = momentum
    return keras.Model(images, layers.Dense(num_classes, name="logits")(base.output))
