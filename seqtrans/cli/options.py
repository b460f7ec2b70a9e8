"""Options that commands on a trained run share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from seqtrans.translation.recipe.load_run import Run as LoadedRun
    from seqtrans.translation.search.config import DecodingConfig

Run = Annotated[Path, typer.Argument(help="Run directory that training made.")]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="File that appears once it is whole. [standard output]"),
]
Checkpoint = Annotated[str, typer.Option(help="best, last, averaged, or the number of a step.")]
CheckpointOfRun = Annotated[
    str | None,
    typer.Option(
        "--checkpoint", help="Of a run: best, last, averaged, or the number of a step. [best]"
    ),
]
"""Of a command that takes more than runs."""
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


def overridden(
    run: "LoadedRun",
    settings: Literal["decoding", "validation"] = "decoding",
    **options: float | None,
) -> "DecodingConfig":
    """How ``run`` searches, by ``settings`` of its recipe, but for the options that were given.

    Raises:
        RecipeError: They have values that can't be, or contradict the recipe.
    """
    given = {name: value for name, value in options.items() if value is not None}
    place = " ".join(f"--{name.replace('_', '-')}" for name in given)
    return run.decoding(given, place or f"--settings {settings}", settings)
