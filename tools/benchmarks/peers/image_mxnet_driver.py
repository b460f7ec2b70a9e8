"""Trains with the Module API of Apache MXNet 1.9.1, which needs Python 3.8."""

from __future__ import annotations

import argparse
from typing import Any

import image_contract as contract

ARGUMENTS = contract.parse_arguments()  # sets the number of threads, so before MXNet

import mxnet as mx
import numpy as np


def main(arguments: argparse.Namespace) -> None:
    """Train and write the report."""
    mx.random.seed(arguments.seed)
    np.random.seed(arguments.seed)  # what NDArrayIter draws from
    module = mx.mod.Module(symbol(arguments.shape), context=mx.cpu())
    watch = contract.Stopwatch()

    def end_epoch(*_unused: Any) -> None:
        watch.stop()
        watch.start()

    beta1, beta2 = contract.ADAM_BETAS
    batches = iterator(arguments, "train")
    watch.start()
    module.fit(
        batches,
        eval_metric="ce",
        initializer=mx.init.Xavier(),
        optimizer="adam",
        optimizer_params={
            "learning_rate": contract.LEARNING_RATE,
            "beta1": beta1,
            "beta2": beta2,
            "epsilon": contract.ADAM_EPSILON,
        },
        num_epoch=arguments.epochs,
        epoch_end_callback=end_epoch,
    )
    weights, _ = module.get_params()
    contract.write_report(
        arguments,
        watch,
        dict(module.score(iterator(arguments, "test"), "acc"))["accuracy"],
        system="MXNet",
        version=mx.__version__,
        parameters=sum(part.size for part in weights.values()),
    )


def iterator(arguments: argparse.Namespace, split: str) -> mx.io.NDArrayIter:
    """Images in memory; shuffled before every epoch where they are to learn from."""
    images, labels = contract.read(arguments, split)
    is_training = split == "train"
    return mx.io.NDArrayIter(
        images[:, None],
        labels.astype(np.float32),
        contract.BATCH,
        shuffle=is_training,
        last_batch_handle="pad",
    )


def symbol(shape: str) -> mx.sym.Symbol:
    """The model of a shape."""
    x = mx.sym.var("data")
    if shape == "mlp":
        x = mx.sym.flatten(x)
        for width in contract.MLP_WIDTHS:
            x = mx.sym.relu(mx.sym.FullyConnected(x, num_hidden=width))
    else:
        kernel = (contract.KERNEL, contract.KERNEL)
        for filters in contract.FILTERS:
            x = mx.sym.relu(mx.sym.Convolution(x, num_filter=filters, kernel=kernel))
            x = mx.sym.Pooling(x, kernel=(2, 2), stride=(2, 2), pool_type="max")
        x = mx.sym.relu(mx.sym.FullyConnected(mx.sym.flatten(x), num_hidden=contract.LENET_WIDTH))
    return mx.sym.SoftmaxOutput(
        mx.sym.FullyConnected(x, num_hidden=contract.CLASSES), name="softmax"
    )


if __name__ == "__main__":
    main(ARGUMENTS)
