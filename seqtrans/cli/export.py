"""``seqtrans export``: a classifier as a file that runs without seqtrans, or a run to ship."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from seqtrans.cli.options import Checkpoint, Run
from seqtrans.errors import ExportError

if TYPE_CHECKING:
    from seqtrans.images.export.verify import FormatName


def export(
    run: Run,
    *,
    output_format: Annotated[
        Literal["onnx", "torchscript", "pt2", "run"] | None,
        typer.Option(
            "--format",
            help="Format; pt2 is torch.export, run is a run directory. [by the ending of --output]",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File that appears once it was checked, [RUN/model.onnx, .ts.pt or .pt2] or, of "
            "a run, a folder.",
        ),
    ] = None,
    checkpoint: Checkpoint = "best",
) -> None:
    """Export a classifier as one file, or a run to give away.

    --format run works for every task. It writes a run directory with one checkpoint, which can
    translate, classify, score and start other runs. It can't be resumed: it has no optimizer state,
    which is two thirds of most runs, and no logs.

    The other formats write an image classifier as ONNX, TorchScript or torch.export (pt2). The
    input is a float32 tensor (batch, channels, height, width) of pixels from 0 to 255, with any
    batch size, in the image size that the model sees (data.resize, if the recipe has it). The file
    normalizes pixels itself and returns fp32 logits. It also stores the names of the classes, size,
    mean and deviation: as metadata of ONNX (JSON values), or as the extra file metadata.json.

    The file is loaded again and must give the model's classes and logits, within 0.0001 of the
    largest, for random images and up to 64 images of the run; else it is deleted.
    """
    from seqtrans.images.export.export_run import export_run
    from seqtrans.recipe.ship_run import ship_run
    from seqtrans.training.reporting.loggers import log_to_stderr

    with log_to_stderr():
        if output_format != "run":
            export_run(run, _kind(output_format, output), output, checkpoint)
        elif output is None:
            raise ExportError("--format run needs -o: the folder to make")
        else:
            ship_run(run, output, checkpoint)


def _kind(asked: "FormatName | None", output: Path | None) -> "FormatName":
    """Return the format that was asked for, or that of the file name; they must not differ."""
    kinds: dict[str, FormatName] = {
        ".onnx": "onnx", ".pt": "torchscript", ".ts": "torchscript", ".pt2": "pt2",
    }  # fmt: skip
    named = kinds.get(output.suffix) if output else None
    if asked and named and asked != named:
        raise ExportError(f"--format {asked}, but {output} is a name of {named}: change one")
    if kind := asked or named:
        return kind
    raise ExportError("say --format onnx, torchscript, pt2 or run, or -o with an ending of those")
