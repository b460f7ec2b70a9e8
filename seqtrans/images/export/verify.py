"""Write an exported file after checking that it gives the model's outputs."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from seqtrans.errors import ExportError
from seqtrans.images.export.onnx import Onnx
from seqtrans.images.export.pixel_classifier import Contract, PixelClassifier
from seqtrans.images.export.torch_formats import ExportedProgram, Format, Loaded, TorchScript
from seqtrans.runtime.files.atomic_files import open_aside
from seqtrans.tensor_types import Float, Tensor, UInt8

FormatName = Literal["onnx", "torchscript", "pt2"]
SUFFIXES: Mapping[FormatName, str] = {"onnx": ".onnx", "torchscript": ".ts.pt", "pt2": ".pt2"}
"""File name suffix of each format."""

TOLERANCE = 1e-4
"""Largest error of a logit, relative to the largest logit of its batch or to 1, if that is more."""


class Sample(NamedTuple):
    """Images and the model's logits.

    Attributes:
        name: Name of the images, for the error.
        images: Pixels from 0 to 255.
        logits: Logits of the original model.
    """

    name: str
    images: UInt8[Tensor, "B channels height width"]
    logits: Float[Tensor, "B classes"]


def open_format(name: FormatName) -> Format:
    """Return the format of a name.

    Raises:
        ExportError: A package that it needs is not installed.
    """
    match name:
        case "onnx":
            return Onnx()
        case "torchscript":
            return TorchScript()
        case "pt2":
            return ExportedProgram()


def write_checked(
    network: PixelClassifier,
    contract: Contract,
    form: Format,
    path: Path,
    samples: Sequence[Sample],
) -> float:
    """Write a temporary file, load it, compare outputs, and only then rename it.

    Args:
        network: What to export.
        contract: What is stored with it.
        form: Kind of the file.
        path: The file; after an error it is as it was.
        samples: What the file must answer.

    Returns:
        The largest difference of a logit.

    Raises:
        ExportError: The model can't be exported so, the file answers otherwise than the model, or
            nothing can be written there.
    """
    if path.exists() and not path.is_file():
        raise ExportError(f"{path} is not a regular file")
    example = torch.zeros(2, contract.channels, contract.height, contract.width)
    about = contract.described()
    try:
        with open_aside(path) as file:
            with _one_line_errors(f"{path}: can't export this model"):
                form.write(network, example, about, file)
            file.flush()
            with _one_line_errors(f"{path}: the exported file does not work and was not kept"):
                loaded = form.read(Path(file.name))
                return _check(loaded, about, samples, path)
    except OSError as error:
        raise ExportError(f"{path}: can't be written: {error.strerror or error}") from error


@torch.no_grad()
def _check(
    loaded: Loaded, about: Mapping[str, Any], samples: Sequence[Sample], path: Path
) -> float:
    """Return the largest difference of a logit.

    Raises:
        ExportError: It is too large, a class differs, or what is stored is not ``about``.
    """
    if loaded.about != about:
        raise ExportError(f"{path}: the exported file lost its metadata and was not kept")
    largest = 0.0
    for name, images, expected in samples:
        logits = loaded.logits(images.float())
        allowed = TOLERANCE * max(1.0, float(expected.abs().max()))
        same_shape = logits.shape == expected.shape
        difference = float((logits - expected).abs().max()) if same_shape else float("inf")
        others = int((logits.argmax(1) != expected.argmax(1)).sum()) if same_shape else len(images)
        if not difference <= allowed or others:  # also where it is not a number
            raise ExportError(
                f"{path}: the exported file does not answer like the model and was not kept: on "
                f"{name} logits differ by up to {difference:.2g} ({allowed:.2g} is allowed) and "
                f"{others} of {len(images)} classes differ"
            )
        largest = max(largest, difference)
    return largest


@contextmanager
def _one_line_errors(message: str) -> Generator[None]:
    """Turn any exception of an exporter into an error of one line."""
    try:
        yield
    except (ExportError, OSError, MemoryError):
        raise
    except Exception as error:
        cause = error.__cause__ or error  # torch's exporters wrap it in advice to their authors
        reason = next((line for line in str(cause).splitlines() if line.strip()), "")
        raise ExportError(f"{message}: {reason.strip() or type(cause).__name__}") from error
