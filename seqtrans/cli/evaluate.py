"""``seqtrans evaluate``: score translations against references, or a classifier by its test."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from seqtrans.cli.options import CheckpointOfRun
from seqtrans.cli.text_io import name_of, print_data, read_lines
from seqtrans.errors import DataError
from seqtrans.runtime.files.strict_json import as_json
from seqtrans.translation.evaluation.metrics import MetricName, PairedTestName, Score, Tokenizer

if TYPE_CHECKING:
    from seqtrans.translation.evaluation.metrics import Measure


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
            "--reference", "-r", metavar="FILE", help="Reference translations; may be repeated."
        ),
    ] = None,
    metric: Annotated[
        list[_Metric] | None,
        typer.Option("--metric", "-m", help="Metric; may be repeated. [all but ter]"),
    ] = None,
    confidence: Annotated[
        bool, typer.Option("--confidence", help="Add 95 % intervals (1,000 bootstrap samples).")
    ] = False,
    paired: Annotated[
        PairedTestName | None,
        typer.Option(
            help="Test whether systems differ from the first; bootstrap also adds intervals."
        ),
    ] = None,
    lowercase: Annotated[
        bool, typer.Option("--lowercase", help="Ignore case (TER always does).")
    ] = False,
    tokenize: Annotated[
        Tokenizer | None,
        typer.Option(help="Tokenizer of BLEU. [13a]", show_default=False),
    ] = None,
    output_format: Annotated[
        Literal["table", "json"], typer.Option("--format", help="Output format.")
    ] = "table",
    checkpoint: CheckpointOfRun = None,
) -> None:
    """Measure the quality of translations or image classifiers.

    BLEU, chrF, chrF++ and TER and their signatures come from sacreBLEU. TER is measured only if
    --metric asks for it, because it takes minutes for a line of 1,000 words. For a classifier:
    accuracy, precision, recall and confusions, which are also stored in the run, with the mistakes
    that the classifier was surest of.
    """
    if not reference:
        from seqtrans.cli.parts.evaluate_classifier import evaluate_run

        options = {
            "--metric": metric,
            "--confidence": confidence,
            "--paired": paired,
            "--lowercase": lowercase,
            "--tokenize": tokenize,
        }
        run = _run_alone(hypothesis, [name for name, value in options.items() if value])
        evaluate_run(run, checkpoint or "best", output_format)
        return
    if checkpoint:
        raise DataError("--checkpoint is for a run of a classifier, not for translations")
    from seqtrans.translation.evaluation.metrics import METRICS, Measure, score_systems

    chosen: tuple[MetricName, ...] = Measure().metrics
    if metric:
        chosen = tuple(name for name in METRICS if _Metric(name) in metric)
    if tokenize and "bleu" not in chosen:
        raise DataError("--tokenize is how BLEU cuts text into words: measure it by -m bleu, too")
    measure = Measure(metrics=chosen, lowercase=lowercase, tokenize=tokenize or "13a")
    if [*reference, *hypothesis].count(Path("-")) > 1:
        raise DataError("the standard input is given twice: it can be read once")
    references, systems = _texts(reference), _texts(hypothesis)
    for message in _advice(measure, references, systems, is_asked=bool(metric)):
        sys.stderr.write(f"{message}\n")
    scores = score_systems(systems, references, measure, confidence=confidence, paired=paired)
    _print(scores, output_format)


def _print(scores: Sequence[Score], output_format: Literal["table", "json"]) -> None:
    if output_format == "table":
        sys.stdout.write(_table(scores))
    else:
        print_data(_json(scores))


def _run_alone(hypothesis: Sequence[Path], options: Sequence[str]) -> Path:
    """Return the run of a classifier if it is the only argument, else None."""
    run = hypothesis[0]
    if len(hypothesis) == 1 and run.is_dir():
        if options:
            raise DataError(f"{options[0]} is for translations; {run} is a folder")
        return run
    missing = [str(path) for path in hypothesis if not path.exists() and str(path) != "-"]
    raise DataError(
        "give --reference, or nothing but a run of a classifier"
        + "".join(f"; there is no {path}" for path in missing)
    )


def _texts(paths: Iterable[Path]) -> dict[str, list[str]]:
    """Return the lines of every file by its name."""
    texts: dict[str, list[str]] = {}
    for path in paths:
        name = name_of(path)
        if name in texts:
            raise DataError(f"{name} is given twice")
        texts[name] = list(read_lines(path))
    return texts


def _advice(
    measure: "Measure",
    references: Mapping[str, Sequence[str]],
    systems: Mapping[str, Sequence[str]],
    *,
    is_asked: bool,
) -> Iterator[str]:
    """Yield advice on how to read the scores; on chrF++ only if it was asked for."""
    from seqtrans.translation.evaluation.suitability import Names, looks_tokenized, unsuited

    if not is_asked:
        measure = replace(measure, metrics=("bleu",))
    name, lines = next(iter(references.items()))
    yield from unsuited(measure, lines, name, Names("--tokenize", "--metric"))
    if "bleu" not in measure.metrics or measure.tokenize == "none":
        return
    for name, lines in systems.items():
        if count := looks_tokenized(lines):
            yield (
                f"{name}: {count:,} lines end in ' .', as tokenized text does; BLEU is comparable "
                "where it was joined again, or give --tokenize none if the reference is tokenized"
            )


def _table(scores: Sequence[Score]) -> str:
    """Return a table with a row for every system, and the signatures of the metrics below."""
    titles = list(dict.fromkeys(score.name for score in scores))
    tested = [score for score in scores if score.p_value is not None] or scores
    rows = [["system", *titles]]
    for system in dict.fromkeys(score.system for score in scores):
        cells = {score.name: _cell(score) for score in scores if score.system == system}
        rows.append([system, *(cells[title] for title in titles)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    signatures: dict[str, list[str]] = {}
    for score in tested:
        signatures.setdefault(f"{score.name}|{score.signature}", []).append(score.system)
    is_one = len(signatures) == len(titles)  # of each metric
    ends = {line: "" if is_one else f"  ({', '.join(of)})" for line, of in signatures.items()}
    lines += ["", *(line + end for line, end in ends.items())]
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
