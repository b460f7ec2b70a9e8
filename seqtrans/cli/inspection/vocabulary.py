"""``seqtrans vocabulary``: the tokens of a run."""

from typing import Annotated, Literal

import typer

from seqtrans.cli.options import Run
from seqtrans.cli.text_io import print_data


def vocabulary(
    run: Run,
    *,
    side: Annotated[
        Literal["source", "target"], typer.Option(help="Language of the vocabulary.")
    ] = "target",
    counts: Annotated[
        bool, typer.Option("--counts", help="Count tokens in the training corpus, a third column.")
    ] = False,
) -> None:
    """List the tokens of a vocabulary.

    Columns are the id, the token, its count where asked for, and which special token it is: pad,
    bos, eos or unk.
    """
    from seqtrans.training.checkpoints.run_directory import open_run
    from seqtrans.translation.recipe.run_corpora import RunCorpora
    from seqtrans.translation.tokenization.segmenters import load_segmenters

    segmenter = getattr(load_segmenters(open_run(run).vocabulary), side)
    marks = {i: name for name, i in reversed(segmenter.specials._asdict().items())}
    columns = [map(str, range(len(segmenter.pieces))), segmenter.pieces]
    if counts:
        rows = getattr(RunCorpora(run).train, side)
        columns.append(map(str, rows.counts(len(segmenter.pieces)).tolist()))
    columns.append([marks.get(i, "") for i in range(len(segmenter.pieces))])
    rows = zip(*columns, strict=True)
    print_data("".join("\t".join(row).rstrip("\t") + "\n" for row in rows))
