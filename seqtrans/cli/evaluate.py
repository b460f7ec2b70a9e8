"""``seqtrans evaluate``: score translations against references, or a classifier by its test."""

import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from seqtrans.cli.streams import name_of, print_data, read_lines
from seqtrans.documents import as_json
from seqtrans.errors import DataError
from seqtrans.evaluation.corpus import MetricName, PairedTestName, Score, Tokenizer


class _Metric(StrEnum):
    """``MetricName`` as typer wants the members of a list."""

    BLEU = "bleu"
    CHRF = "chrf"
    CHRF_WITH_WORDS = "chrf++"
    TER = "ter"


def evaluate(  # noqa: PLR0913 - typer's signature
    hypothesis: Annotated[
        list[Path],
        typer.Argument(
            help="Translations, one file a system; - is the standard input. Or one run directory "
            "of an image classifier, without --reference."
        ),
    ],
    *,
    reference: Annotated[
        list[Path] | None,
        typer.Option(
            "--reference", "-r", metavar="FILE", help="Right translations; repeat it for several."
        ),
    ] = None,
    metric: Annotated[
        list[_Metric] | None,
        typer.Option("--metric", "-m", help="What to measure; repeat it for several. [all four]"),
    ] = None,
    confidence: Annotated[
        bool, typer.Option("--confidence", help="Add 95 % intervals (1,000 bootstrap samples).")
    ] = False,
    paired: Annotated[
        PairedTestName | None,
        typer.Option(help="Test how the systems differ from the first, line by line."),
    ] = None,
    lowercase: Annotated[bool, typer.Option("--lowercase", help="Ignore case.")] = False,
    tokenize: Annotated[
        Tokenizer, typer.Option(help="How BLEU cuts text into words.", show_default=True)
    ] = "13a",
    output_format: Annotated[
        Literal["table", "json"], typer.Option("--format", help="How to print the scores.")
    ] = "table",
    checkpoint: Annotated[
        str | None,
        typer.Option(help="Of a run: best, last, averaged, or the number of a step. [best]"),
    ] = None,
) -> None:
    """Score translations, or a classifier of images.

    BLEU, chrF, chrF++ and TER and their signatures are sacreBLEU's. Of a classifier: accuracy,
    precision, recall and what is taken for what; its run keeps them, with the mistakes it was
    surest of.
    """
    if not reference:
        is_plain = not (metric or confidence or paired or lowercase or tokenize != "13a")
        if len(hypothesis) > 1 or not hypothesis[0].is_dir() or not is_plain:
            missing = [str(path) for path in hypothesis if not path.exists() and str(path) != "-"]
            raise typer.BadParameter(
                "give --reference, or nothing but a run of a classifier"
                + "".join(f"; there is no {path}" for path in missing)
            )
        from seqtrans.cli.evaluate_run import evaluate_run

        evaluate_run(hypothesis[0], checkpoint or "best", output_format)
        return
    if checkpoint:
        raise typer.BadParameter("--checkpoint is for a run, not for translations")
    from seqtrans.evaluation.corpus import METRICS, Measure, compare_systems, score_systems

    chosen: list[MetricName] = [name for name in METRICS if not metric or _Metric(name) in metric]
    measure = Measure(metrics=tuple(chosen), lowercase=lowercase, tokenize=tokenize)
    references, systems = _texts(reference), _texts(hypothesis)
    if paired:
        scores = compare_systems(systems, references, measure, paired)
    else:
        scores = score_systems(systems, references, measure, confidence=confidence)
    if output_format == "table":
        sys.stdout.write(_table(scores))
    else:
        print_data(_json(scores))


def _texts(paths: Iterable[Path]) -> dict[str, list[str]]:
    """Lines of every file by its name."""
    texts: dict[str, list[str]] = {}
    for path in paths:
        name = name_of(path)
        if name in texts:
            raise DataError(f"{name} is given twice")
        texts[name] = list(read_lines(path))
    return texts


def _table(scores: Sequence[Score]) -> str:
    """A row for every system, a column for every metric, and the signatures below."""
    titles = list(dict.fromkeys(score.name for score in scores))
    rows = [["system", *titles]]
    for system in dict.fromkeys(score.system for score in scores):
        cells = {score.name: _cell(score) for score in scores if score.system == system}
        rows.append([system, *(cells[title] for title in titles)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    signatures = {score.name: score.signature for score in scores}
    lines += ["", *(f"{name}|{signature}" for name, signature in signatures.items())]
    return "".join(f"{line}\n" for line in lines)


def _cell(score: Score) -> str:
    text = f"{score.value:.2f}"
    if score.half_width is not None:
        text += f" ± {score.half_width:.2f}"
    if score.p_value is not None:
        text += f" (p = {score.p_value:.4f})"
    return text


def _json(scores: Sequence[Score]) -> str:
    plain = [{k: v for k, v in score._asdict().items() if v is not None} for score in scores]
    return as_json(plain, indent=1) + "\n"
