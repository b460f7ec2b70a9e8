"""Options that commands on a trained run share."""

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from seqtrans.errors import SeqtransError

if TYPE_CHECKING:
    from seqtrans.decoding.beam import DecodingConfig

Run = Annotated[Path, typer.Argument(help="Run directory that training made.")]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="File that appears once it is whole. [standard output]"),
]
Checkpoint = Annotated[str, typer.Option(help="best, last, averaged, or the number of a step.")]
Precision = Annotated[
    Literal["fp32", "bf16", "auto"],
    typer.Option(help="Arithmetic; auto is bf16 where the processor has it."),
]
Device = Annotated[
    Literal["auto", "cpu", "cuda"], typer.Option(help="Where to compute; auto prefers a GPU.")
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Processor cores to use.", show_default="all")
]
LengthPenalty = Annotated[
    float | None, typer.Option(min=0, help="Exponent of the length in the score.")
]


def overridden(config: "DecodingConfig", **options: float | None) -> "DecodingConfig":
    """``config`` with the options that were given.

    Raises:
        SeqtransError: They contradict it.
    """
    given = {name: value for name, value in options.items() if value is not None}
    for name, value in given.items():
        if not math.isfinite(value):
            raise SeqtransError(f"--{name.replace('_', '-')} must be a number, not {value}")
    try:
        return replace(config, **given)  # type: ignore[arg-type]
    except ValueError as error:
        raise SeqtransError(f"decoding: {error}") from error
