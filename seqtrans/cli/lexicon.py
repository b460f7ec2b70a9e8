"""``seqtrans lexicon``: the likely translations of each token, for shortlists."""

import sys
from typing import Annotated

import typer

from seqtrans.cli.options import Run


def lexicon(
    run: Run,
    *,
    top: Annotated[
        int, typer.Option(min=1, help="Translations to keep of each source token.")
    ] = 100,
    iterations: Annotated[
        int, typer.Option(min=1, help="Iterations of IBM model 1 over the training corpus.")
    ] = 5,
) -> None:
    """Make the lexicon that shortlists need.

    It is made from the training corpus, for the key decoding.shortlist; translate with it by
    --set shortlist=SIZE. Prints which proportion of the target tokens of the validation corpus is
    in the shortlists, by their size.
    """
    from seqtrans.translation.recipe.make_lexicon import make_lexicon

    report = make_lexicon(run, top, iterations)
    sys.stderr.write(f"{report.path}: translations of {report.source_tokens:,} source tokens\n")
    lines = ["shortlist  target tokens in it"]
    lines += [f"{size:9,}  {share:16.2%}" for size, share in report.coverage.items()]
    sys.stdout.write("\n".join(lines) + "\n")
