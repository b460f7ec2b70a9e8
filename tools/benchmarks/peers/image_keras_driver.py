"""Trains with Keras 3 on PyTorch, by ``compile`` and ``fit``."""

import argparse
import os

import image_contract as contract

ARGUMENTS = contract.parse_arguments()  # sets the number of threads, so before torch
os.environ["KERAS_BACKEND"] = "torch"

import keras
import torch
from keras import layers


class Laps(keras.callbacks.Callback):
    """Looks at the clock at both ends of an epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.watch = contract.Stopwatch()

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:  # noqa: ARG002
        """Called by Keras."""
        self.watch.start()

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:  # noqa: ARG002
        """Called by Keras."""
        self.watch.stop()


def main(arguments: argparse.Namespace) -> None:
    """Train and write the report."""
    keras.utils.set_random_seed(arguments.seed)
    model, laps = build(arguments.shape), Laps()
    beta_1, beta_2 = contract.ADAM_BETAS
    model.compile(
        keras.optimizers.Adam(
            contract.LEARNING_RATE, beta_1=beta_1, beta_2=beta_2, epsilon=contract.ADAM_EPSILON
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    images, labels = contract.read(arguments, "train")
    model.fit(
        images[..., None],
        labels,
        batch_size=contract.BATCH,
        epochs=arguments.epochs,
        verbose=0,
        callbacks=[laps],
    )
    images, labels = contract.read(arguments, "test")
    logits = model.predict(images[..., None], batch_size=500, verbose=0)
    contract.write_report(
        arguments,
        laps.watch,
        float((logits.argmax(1) == labels).mean()),
        system="Keras",
        version=f"{keras.__version__} (torch {torch.__version__})",
        parameters=model.count_params(),
    )


def build(shape: str) -> keras.Model:
    """The model of a shape with Keras's own initial weights."""
    inputs = keras.Input((contract.SIDE, contract.SIDE, 1))
    if shape == "mlp":
        dense = [layers.Dense(width, activation="relu") for width in contract.MLP_WIDTHS]
        return keras.Sequential([inputs, layers.Flatten(), *dense, layers.Dense(contract.CLASSES)])
    first, second = contract.FILTERS
    return keras.Sequential(
        [
            inputs,
            layers.Conv2D(first, contract.KERNEL, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(second, contract.KERNEL, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(contract.LENET_WIDTH, activation="relu"),
            layers.Dense(contract.CLASSES),
        ]
    )


if __name__ == "__main__":
    main(ARGUMENTS)
