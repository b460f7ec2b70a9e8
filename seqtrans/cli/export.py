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
            help="Kind of file, pt2 is torch.export's; run: a run directory. [as --output ends]",
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
    """Write a classifier for other programs, or a run to ship.

    --format run, of any task, makes a run directory of one checkpoint that translates, classifies,
    scores and starts other runs as the whole one does, but can't be trained on: it holds neither
    the optimizer's state, two thirds of most runs, nor logs. What follows is of the others.

    The file is ONNX, TorchScript or what torch.export writes (pt2). Into it go images as float32
    (batch, channels, height, width) with pixels from 0 to 255, any number at once; it normalizes
    them itself. Their size is the one that the model sees: that of data.resize, if the recipe has
    it. Out come logits in fp32 (softmax makes probabilities of them). Names of the classes, size,
    mean and deviation are stored in it: as metadata of ONNX, each value as JSON; as the extra file
    metadata.json of the others.

    The file is loaded again and must give the model's logits, within 0.0001 of the largest, and
    classes, for random images and up to 64 of the run's own, or it is not kept.
    """
    from seqtrans.images.export.export_run import export_run
    from seqtrans.recipe.ship_run import ship_run
    from seqtrans.training.reporting.loggers import speaking

    with speaking():
        if output_format != "run":
            export_run(run, _kind(output_format, output), output, checkpoint)
        elif output is None:
            raise ExportError("--format run needs -o: the folder to make")
        else:
            ship_run(run, output, checkpoint)


def _kind(asked: "FormatName | None", output: Path | None) -> "FormatName":
    """The kind that was asked for, or that the name of the file tells; they must not differ."""
    kinds: dict[str, FormatName] = {
        ".onnx": "onnx", ".pt": "torchscript", ".ts": "torchscript", ".pt2": "pt2",
    }  # fmt: skip
    named = kinds.get(output.suffix) if output else None
    if asked and named and asked != named:
        raise ExportError(f"--format {asked}, but {output} is a name of {named}: change one")
    if kind := asked or named:
        return kind
    raise ExportError("say --format onnx, torchscript, pt2 or run, or -o with an ending of those")
