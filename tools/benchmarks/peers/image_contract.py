"""What every driver of ``benchmarks/images.py`` is told and what it reports.

Runs in the peers' environments, Python 3.8 included, with nothing but NumPy. A driver is a script
that trains one model with one system's own machinery:

    PYTHON image_SYSTEM_driver.py --data FOLDER --report FILE --shape NAME ...

and writes one JSON report: seconds of every epoch, without evaluation, and the accuracy on the
test images after the last.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

BATCH = 128
LEARNING_RATE = 1e-3
ADAM_BETAS = (0.9, 0.999)
ADAM_EPSILON = 1e-8
MEAN, STD = 0.1307, 0.3081  # of MNIST's pixels, from 0 to 1
CLASSES = 10
SIDE = 28

MLP_WIDTHS = (128, 64)
FILTERS, KERNEL, LENET_WIDTH = (20, 50), 5, 500  # no padding, 2 x 2 maximum after each
LENET_FEATURES = 50 * 4 * 4  # after both

SHAPES = {"mlp": 60_000, "lenet": 12_800}  # and how many images an epoch has
PARAMETERS = {"mlp": 109_386, "lenet": 431_080}  # so that no system runs another model


class Stopwatch:
    """Epochs, each from ``start`` to ``stop``."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._began = 0.0

    def start(self) -> None:
        """An epoch begins."""
        self._began = time.perf_counter()

    def stop(self) -> None:
        """It is over."""
        self.seconds.append(time.perf_counter() - self._began)


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read a driver's command line; also pins the threads before a library is imported."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True, help="with train.npz and test.npz")
    parser.add_argument("--report", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--shape", choices=SHAPES, required=True)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args(argv)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(arguments.threads)
    return arguments


def read(arguments: argparse.Namespace, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images of a split, normalized, fp32 (N, 28, 28), and their classes, int64 (N)."""
    with np.load(arguments.data / f"{split}.npz") as stored:
        images, labels = stored["images"], stored["labels"].astype(np.int64)
    if split == "train":
        images, labels = images[: SHAPES[arguments.shape]], labels[: SHAPES[arguments.shape]]
    return (images.astype(np.float32) / 255 - np.float32(MEAN)) / np.float32(STD), labels


def write_report(
    arguments: argparse.Namespace, watch: Stopwatch, accuracy: float, **facts: Any
) -> None:
    """Write the report of a run.

    Args:
        arguments: What the driver was told.
        watch: The epochs.
        accuracy: On the test images, from 0 to 1.
        facts: What else there is to know: ``system``, ``version``, ``parameters``.

    Raises:
        ValueError: The model is not the one that all train.
    """
    if facts["parameters"] != PARAMETERS[arguments.shape]:
        raise ValueError(f"{facts['parameters']} parameters, not {PARAMETERS[arguments.shape]}")
    told = {name: str(value) for name, value in vars(arguments).items()}
    report = {"seconds": watch.seconds, "accuracy": accuracy, **facts, "told": told}
    arguments.report.write_text(json.dumps({**report, "python": platform.python_version()}))
