"""``seqtrans rerank``: reorder n-best translations."""

import json
import math
from collections.abc import Iterable, Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer

from seqtrans.cli.options import Output
from seqtrans.cli.text_io import name_of, open_output, read_lines, with_progress, write_lines
from seqtrans.errors import DataError, SeqtransError
from seqtrans.runtime.files.strict_json import as_json

METRICS = ("bleu", "chrf")
OF_LINE = ("alternatives",)  # keys that belong to a line, not to one translation


def rerank(
    n_best: Annotated[
        Path,
        typer.Argument(
            help="JSON lines that translate --n-best N --format jsonl wrote; - is standard input."
        ),
    ],
    *,
    by: Annotated[
        str,
        typer.Option(help="bleu or chrf, with a reference, or the name of a number in the JSON."),
    ],
    reference: Annotated[
        Path | None, typer.Option(help="Reference translations, for bleu and chrf.")
    ] = None,
    lowest: Annotated[
        bool, typer.Option("--lowest", help="The lowest number is the best, as of costs.")
    ] = False,
    output_format: Annotated[
        Literal["text", "jsonl"],
        typer.Option("--format", help="The best translations, or JSON lines in the new order."),
    ] = "text",
    output: Output = None,
) -> None:
    """Reorder the translations of each line, best first.

    bleu and chrf are sentence scores of sacreBLEU (smoothed BLEU with tokenizer 13a; chrF2), with
    which the best possible choice is found. Equal translations keep their order.
    """
    if (reference is not None) != (by in METRICS):
        needs = "needs --reference" if by in METRICS else "takes no --reference"
        raise SeqtransError(f"--by {by} {needs}")
    lines = read_lines(n_best)
    references = chain(read_lines(reference), repeat(None)) if reference else repeat("")
    with open_output(output) as file:
        ordered = _reordered(lines, references, by, name_of(n_best), lowest=lowest)
        shown = (
            as_json(line) if output_format == "jsonl" else line["translation"] for line in ordered
        )
        write_lines(with_progress(shown, "lines"), file)


def _reordered(
    lines: Iterable[str], references: Iterable[str | None], by: str, name: str, *, lowest: bool
) -> Iterator[dict[str, Any]]:
    """Yield lines with the best translation first and the others as its alternatives."""
    references = iter(references)
    for number, text in enumerate(lines, start=1):
        place = f"{name}:{number}"
        candidates = _candidates(text, place)
        reference = next(references)
        if reference is None:
            raise DataError(f"{place}: the reference has only {number - 1:,} lines")
        scores = _scores(candidates, by, reference, place)
        sign = 1 if lowest else -1
        order = sorted(range(len(candidates)), key=lambda i: sign * scores[i])
        best, *others = (candidates[i] for i in order)
        yield {**best, "alternatives": others}
    if next(references, None) not in (None, ""):
        raise DataError(f"{name}: has fewer lines than the reference")


def _candidates(text: str, place: str) -> list[dict[str, Any]]:
    """Return the translations of a line of JSON."""
    try:
        line = cast("dict[str, Any]", json.loads(text))
        first = {key: value for key, value in line.items() if key not in OF_LINE}
        candidates = [first, *line.get("alternatives", ())]
        if all(isinstance(candidate["translation"], str) for candidate in candidates):
            return candidates
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass
    raise DataError(
        f"{place}: is no JSON object with 'translation' and 'alternatives', as translate --format "
        "jsonl writes"
    )


def _scores(candidates: list[dict[str, Any]], by: str, reference: str, place: str) -> list[float]:
    if by == "bleu" or by == "chrf":  # noqa: PLR1714 - the type checker follows this
        from seqtrans.translation.evaluation.pairwise_scores import pairwise_scores

        texts = [*(candidate["translation"] for candidate in candidates), reference]
        return pairwise_scores(texts, by)[:-1, -1].tolist()
    numbers = [candidate.get(by) for candidate in candidates]
    for value in numbers:
        if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
            known = [k for k, v in candidates[0].items() if isinstance(v, int | float)]
            raise DataError(
                f"{place}: a translation has no number {by!r}; the first has {', '.join(known)}"
            )
    return cast("list[float]", numbers)
