"""Options that commands share."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from seqtrans.errors import RecipeError

if TYPE_CHECKING:
    from seqtrans.translation.recipe.load_run import Run as LoadedRun
    from seqtrans.translation.search.config import SearchConfig

Run = Annotated[Path, typer.Argument(help="Run directory of a trained model.")]
RunsToLookAt = Annotated[
    list[Path], typer.Argument(metavar="RUN...", help="Run directory, or several for an ensemble.")
]
Text = Annotated[str, typer.Argument(help="The text to translate, one sentence.")]
DecodingChanges = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key of decoding; may be repeated."),
]
NewRun = Annotated[
    Path | None,
    typer.Option("--run", help="Run directory. [runs/NAME OF THE RECIPE]", show_default=False),
]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the recipe; may be repeated."),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Output file, written when complete. [standard output]"),
]
Checkpoint = Annotated[str, typer.Option(help="best, last, averaged or a step number.")]
CheckpointOfRun = Annotated[
    str | None,
    typer.Option("--checkpoint", help="For a run: best, last, averaged or a step number. [best]"),
]
"""Of a command that takes more than runs."""
Precision = Annotated[
    Literal["fp32", "bf16", "auto"],
    typer.Option(help="Number format; auto is bf16 if the processor has it."),
]
Device = Annotated[
    Literal["auto", "cpu", "cuda"],
    typer.Option(help="Where to compute; auto takes a GPU if there is one."),
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Number of processor cores to use.", show_default="all")
]
LengthPenalty = Annotated[
    float | None, typer.Option(min=0, help="Exponent of the length in the score.")
]


def overridden(
    run: "LoadedRun",
    settings: Literal["decoding", "validation"] = "decoding",
    changes: Sequence[str] = (),
    **options: float | None,
) -> "SearchConfig":
    """Return how to search: as the recipe of ``run`` says, changed by options.

    Args:
        run: A trained run.
        settings: Key of the recipe with the settings; ``validation``: validation.decoding.
        changes: Values of ``--set``, each ``key=value``.
        **options: Values of other options by name of the key; None: not given.

    Raises:
        RecipeError: Values are invalid, or contradict the recipe.
    """
    from seqtrans import config

    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    places = [f"--{name.replace('_', '-')}" for name in given]
    more = config.override(config.Document({}, {}), changes)
    if more.mistakes:
        raise RecipeError("\n".join(more.mistakes))
    places += [f"--set {name}" for name in more.value]
    return run.decoding(
        {**given, **more.value}, " ".join(places) or f"--settings {settings}", settings
    )
