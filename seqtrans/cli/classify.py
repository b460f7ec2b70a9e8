"""``seqtrans classify``: what is on images."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from seqtrans.cli.options import CheckpointOfRun
from seqtrans.cli.text_io import write_lines
from seqtrans.runtime.files.strict_json import as_json

if TYPE_CHECKING:
    from seqtrans.images.classifier import ReadyClassifier


def classify(
    model: Annotated[
        str,
        typer.Argument(
            help="Run directory, weights (.safetensors, .pth), a folder as on Hugging Face, or a "
            "name of timm."
        ),
    ],
    images: Annotated[list[Path], typer.Argument(help="Image files or folders of images.")],
    *,
    top: Annotated[
        int, typer.Option(min=1, help="Number of classes to show, likeliest first.")
    ] = 5,
    checkpoint: CheckpointOfRun = None,
    output_format: Annotated[
        Literal["table", "jsonl"], typer.Option("--format", help="Table, or JSON lines.")
    ] = "table",
) -> None:
    """Classify images, with probabilities.

    Published weights are recognized by their names and shapes. Nothing is unpickled. A run of a
    Keras model contains a Python file that builds the model; using the run executes that file.
    """
    from seqtrans.images.classifier import images_of, open_classifier
    from seqtrans.runtime.memory import limit_memory_to_cgroup
    from seqtrans.training.reporting.loggers import log_to_stderr

    limit_memory_to_cgroup()
    classifier = open_classifier(model, checkpoint)
    with log_to_stderr():
        paths = images_of(images)
    write = _as_json if output_format == "jsonl" else _as_table
    lines = (line for path in paths for line in write(path, _likeliest(classifier, path, top)))
    write_lines(lines, sys.stdout.buffer)


def _likeliest(classifier: "ReadyClassifier", path: Path, top: int) -> list[tuple[str, float]]:
    probabilities = classifier.probabilities(path)
    values, numbers = probabilities.topk(min(top, len(probabilities)))
    named = (classifier.classes[number] for number in numbers.tolist())
    return list(zip(named, values.tolist(), strict=True))


def _as_table(path: Path, likeliest: list[tuple[str, float]]) -> Iterator[str]:
    from seqtrans.images.data.readers.listing import printable

    yield printable(path)
    for name, probability in likeliest:
        yield f"  {probability:7.2%}  {name}"


def _as_json(path: Path, likeliest: list[tuple[str, float]]) -> Iterator[str]:
    classes = [{"class": name, "probability": value} for name, value in likeliest]
    yield as_json({"image": str(path), "classes": classes})
