"""``seqtrans embeddings``: which words a model finds alike."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from seqtrans.cli.options import Checkpoint, Run
from seqtrans.cli.text_io import print_data
from seqtrans.errors import SeqtransError

_WORDS = {"nearest": 1, "analogy": 3}


def embeddings(
    run: Run,
    action: Annotated[
        Literal["nearest", "analogy", "plot"],
        typer.Argument(help="nearest A, analogy A B C, or plot A B C D..."),
    ],
    words: Annotated[list[str], typer.Argument(help="Words.")],
    *,
    side: Annotated[
        Literal["source", "target"], typer.Option(help="Language of the words.")
    ] = "source",
    count: Annotated[int, typer.Option(min=1, help="Number of tokens to print.")] = 10,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Picture of plot, by extra plots.")
    ] = Path("embeddings.png"),
    checkpoint: Checkpoint = "best",
) -> None:
    """Compare words by the cosine of their embeddings.

    nearest prints the tokens nearest to a word, with the cosine. analogy A B C prints what is to C
    as B is to A: man king woman. plot draws words on the plane where they differ most. A word of
    several tokens is their mean.
    """
    from seqtrans.translation.inference.embeddings import embeddings_of
    from seqtrans.translation.models.encoder_decoder import EncoderDecoder
    from seqtrans.translation.recipe.load_run import load_run

    if (needed := _WORDS.get(action, len(words))) != len(words):
        raise SeqtransError(f"{action} takes {needed} word{'s'[: needed - 1]}, not {len(words)}")
    loaded = load_run(run, checkpoint)
    assert isinstance(loaded.model, EncoderDecoder)  # noqa: S101 - of a single run
    table = embeddings_of(loaded.model, loaded.segmenters, side)
    if action == "plot":
        if len(set(words)) < 3:
            raise SeqtransError(f"plot takes 3 different words or more, not {len(set(words))}")
        _draw(words, table.plane(words).tolist(), output)
        return
    first, *others = words
    found = (
        table.nearest(first, count)
        if action == "nearest"
        else table.analogy(first, others[0], others[1], count)
    )
    print_data("".join(f"{piece}\t{cosine:.4f}\n" for piece, cosine in found))


def _draw(words: list[str], places: list[list[float]], path: Path) -> None:
    from seqtrans.training.reporting.plots import draw_points

    if path.suffix != ".png" or not path.parent.is_dir():
        raise SeqtransError(f"{path}: must end in .png and lie in a folder that exists")
    try:
        draw_points(words, places, path)
    except ImportError as error:
        raise SeqtransError(f"{path}: pictures take pip install 'seqtrans[plots]'") from error
