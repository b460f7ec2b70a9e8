"""``seqtrans attention``: what a model looks at, as a heat map."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seqtrans.cli.options import Checkpoint, DecodingChanges, RunsToLookAt, Text, overridden
from seqtrans.cli.text_io import open_output
from seqtrans.errors import SeqtransError

if TYPE_CHECKING:
    from collections.abc import Sequence


def attention(
    runs: RunsToLookAt,
    text: Text,
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write: .html, or .png by extra plots.")
    ] = Path("attention.html"),
    changes: DecodingChanges = None,
    checkpoint: Checkpoint = "best",
) -> None:
    """Draw the attention between a text and its translation.

    Rows are tokens of the translation, columns those of the text; each row sums to 1. Of several
    heads it is the mean, of several layers the last but one, of several runs the mean.
    """
    from seqtrans.cli.parts.pages import attention_page
    from seqtrans.translation.recipe.load_run import load_ensemble

    if output.suffix not in (".html", ".png"):
        raise SeqtransError(f"{output}: must end in .html or .png")
    loaded = load_ensemble(runs, checkpoint)
    config = overridden(loaded, "decoding", changes or ())
    details = ("alignment", "confidence", "attention")
    translator = loaded.translator(config, details=details)
    (translation,) = translator.stream([text])
    found = translation.details
    tables = [(part["target"], part["source"], part["weights"]) for part in found["attention"]]
    if not tables:
        raise SeqtransError("the text is blank: there is nothing to look at")
    if output.suffix == ".png":
        _draw(tables, output)
    else:
        notes = [
            f"Text: {text}",
            f"Translation: {translation.text}",
            f"Confidence {found['confidence']:.2f}, score {translation.score:.4f}",
            f"Word alignment: {found['alignment'] or 'none'}",
        ]
        with open_output(output) as file:
            page = attention_page(f"Attention of {', '.join(map(str, runs))}", notes, tables)
            file.write(page.encode())
    sys.stdout.write(f"{translation.text}\n")


def _draw(
    tables: "Sequence[tuple[Sequence[str], Sequence[str], Sequence[Sequence[float]]]]", path: Path
) -> None:
    """Draw the heat map of a text that was translated in one part."""
    from seqtrans.training.reporting.plots import draw_heat_map

    if len(tables) > 1:
        raise SeqtransError(
            f"{path}: the text was translated in {len(tables)} parts, each with a heat map: write "
            "an .html file, or give one sentence"
        )
    if not path.parent.is_dir():
        raise SeqtransError(f"{path}: can't be written: there is no folder {path.parent}")
    try:
        draw_heat_map(*tables[0], path)
    except ImportError as error:
        raise SeqtransError(f"{path}: pictures take pip install 'seqtrans[plots]'") from error
