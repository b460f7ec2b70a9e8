"""``seqtrans beams``: the hypotheses of a beam search, as a tree."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from seqtrans.cli.options import Checkpoint, DecodingChanges, RunsToLookAt, Text, overridden
from seqtrans.cli.text_io import open_output
from seqtrans.errors import SeqtransError


def beams(
    runs: RunsToLookAt,
    text: Text,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Page in HTML to write.")] = Path(
        "beams.html"
    ),
    changes: DecodingChanges = None,
    checkpoint: Checkpoint = "best",
) -> None:
    """Draw the beam search for a text as a tree.

    The tree has every hypothesis that the search kept at some step; those without end left the
    beam. It is one page in HTML that needs no network.
    """
    from seqtrans.cli.parts.pages import tree_page
    from seqtrans.translation.recipe.load_run import load_ensemble
    from seqtrans.translation.search.beam import BeamSearch
    from seqtrans.translation.search.beam_tree import ranks, recorded

    loaded = load_ensemble(runs, checkpoint)
    config = overridden(loaded, "decoding", changes or ())
    translator = loaded.translator(config)
    if not isinstance(translator.search, BeamSearch):
        kind = "minimum Bayes risk decoding" if config.mbr else config.kind
        raise SeqtransError(f"only beam search has a tree, not {kind}: --set kind=beam mends that")
    window = translator.parts.cut([text])
    if len(window.inputs) != 1:
        parts = "blank" if not window.inputs else f"translated in {len(window.inputs)} parts"
        raise SeqtransError(f"the text is {parts}: give one sentence")
    search = translator.search = recorded(translator.search)
    (translation,) = translator.parts.join(window, translator.hypotheses(window.inputs))
    rank, pieces = ranks(search.nodes), loaded.segmenters.target.pieces
    nodes = [
        {**node._asdict(), "token": pieces[node.token], "rank": rank.get(i)}
        for i, node in enumerate(search.nodes)
    ]
    best = next(i for i, place in rank.items() if place == 1)
    notes = [f"Text: {text}", f"Translation: {translation.text}"]
    page = tree_page(f"Beam search of {', '.join(map(str, runs))}", notes, nodes, best)
    with open_output(output) as file:
        file.write(page.encode())
    sys.stdout.write(f"{translation.text}\n")
