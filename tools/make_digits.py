"""Write ``data/digits``: scikit-learn's 8x8 digits as idx files, the same bytes every time.

    pip install scikit-learn
    python tools/make_digits.py [--output FOLDER]

1,437 images to train on and 360 to test on, drawn by class with seed 1. The values from 0 to 16
are scaled to 0 to 255 and rounded; ``round(value * 16 / 255)`` gives them back.
"""

import argparse
import struct
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits

from seqtrans.images.data.dataset import ImageSet, split

ROOT = Path(__file__).resolve().parent.parent
TESTED = 360


def main() -> None:
    """Write the four files."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=ROOT / "data" / "digits")
    folder: Path = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    digits = load_digits()
    scaled = np.rint(digits.images * 255 / 16).astype(np.uint8)
    labels = torch.from_numpy(digits.target.astype(np.int64))
    whole = ImageSet(torch.from_numpy(scaled)[:, None], labels, tuple("0123456789"))
    for name, part in zip(("train", "test"), split(whole, TESTED / len(whole), 1), strict=True):
        images, numbers = part.images[:, 0].numpy(), part.labels.numpy().astype(np.uint8)
        write(folder / f"{name}-images-idx3-ubyte", images)
        write(folder / f"{name}-labels-idx1-ubyte", numbers)


def write(path: Path, values: np.ndarray) -> None:
    """An idx file of unsigned bytes."""
    header = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    path.write_bytes(header + values.tobytes())
    print(f"{path}: {values.shape}")


if __name__ == "__main__":
    main()
