"""``seqtrans score``: how likely a model finds given translations."""

import json
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from seqtrans.cli.options import (
    Checkpoint,
    Device,
    LengthPenalty,
    Output,
    Precision,
    Run,
    Threads,
    overridden,
)
from seqtrans.cli.text_io import name_of, open_output, read_lines, with_progress, write_lines
from seqtrans.errors import DataError
from seqtrans.runtime.files.strict_json import as_json

if TYPE_CHECKING:
    from seqtrans.translation.inference.forced_scoring import Pair, ScoredPair, Summary

Format = Literal["text", "jsonl"]


def score(  # noqa: PLR0913 - typer's signature
    run: Run,
    source: Annotated[
        Path, typer.Argument(help="Source text, one sentence per line; - is standard input.")
    ],
    target: Annotated[
        Path, typer.Argument(help="Its translation, line by line; - is standard input.")
    ],
    *,
    tokens: Annotated[
        bool,
        typer.Option(
            "--tokens",
            help="TARGET is output of translate --format jsonl; score exactly its tokens.",
        ),
    ] = False,
    output: Output = None,
    output_format: Annotated[
        Format,
        typer.Option(
            "--format",
            help="Columns: log-probability, score, number of tokens; or JSON with every token.",
        ),
    ] = "text",
    length_penalty: LengthPenalty = None,
    batch_tokens: Annotated[
        int | None, typer.Option(min=1, help="Largest batch, in tokens of either side.")
    ] = None,
    checkpoint: Checkpoint = "best",
    precision: Precision = "fp32",
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Compute the log-probability of given translations.

    The perplexity of all lines is printed on standard error.

    The score is log-probability / length ** length penalty, with EOS counted, as translate ranks.
    Text is segmented again, so translate may have produced the same text from other tokens.
    """
    from seqtrans.runtime.device import use_threads
    from seqtrans.runtime.memory import limit_memory_to_cgroup
    from seqtrans.translation.data.formats.text import NamedLines, align
    from seqtrans.translation.inference.forced_scoring import Scorer, Summary
    from seqtrans.translation.recipe.load_run import load_run

    if source == target == Path("-"):
        raise typer.BadParameter("SOURCE and TARGET can't both be the standard input")
    limit_memory_to_cgroup()
    use_threads(threads)
    with open_output(output) as file:
        loaded = load_run(run, checkpoint)
        config = overridden(loaded, length_penalty=length_penalty, batch_tokens=batch_tokens)
        scorer = Scorer(loaded.model, loaded.segmenters, config, device, precision)
        lines = align(*(NamedLines(name_of(path), read_lines(path)) for path in (source, target)))
        pairs = _with_tokens(lines, target) if tokens else lines
        summary = Summary()
        scored = with_progress(_counted(scorer.stream(pairs), summary), "pairs")
        write_lines(map(_as_json if output_format == "jsonl" else _as_text, scored), file)
    sys.stderr.write(_said(summary, scorer.max_tokens))


def _with_tokens(lines: Iterable[tuple[str, str]], path: Path) -> Iterator["Pair"]:
    """Yield pairs in which the target is the tokens of a line of JSON."""
    for number, (source, line) in enumerate(lines, start=1):
        yield source, _tokens(line, f"{name_of(path)}:{number}")


def _tokens(line: str, place: str) -> list[str] | list[list[str]]:
    """Return the tokens of a line of JSON, in parts if it was translated in parts."""
    try:
        item = json.loads(line)
        tokens, parts = item["tokens"], item.get("parts")
        if not isinstance(tokens, list) or not all(
            isinstance(x, str) for x in cast("list[Any]", tokens)
        ):
            raise _no_tokens(place)
        if parts and sum(parts) != len(cast("list[str]", tokens)):
            raise _no_tokens(place)
        waiting = iter(cast("list[str]", tokens))
        return [list(islice(waiting, count)) for count in parts] if parts else [*waiting]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _no_tokens(place) from error


def _no_tokens(place: str) -> DataError:
    return DataError(
        f"{place}: is no JSON object with 'tokens', as translate --format jsonl writes; leave out "
        "--tokens if it is text"
    )


def _counted(scored: Iterable["ScoredPair"], summary: "Summary") -> Iterator["ScoredPair"]:
    for pair in scored:
        summary.add(pair)
        yield pair


def _as_text(pair: "ScoredPair") -> str:
    return f"{pair.log_prob:.6f}\t{pair.score:.6f}\t{len(pair.tokens)}"


def _as_json(pair: "ScoredPair") -> str:
    fields = {
        "log_prob": pair.log_prob,
        "score": pair.score,
        "tokens": list(pair.tokens),
        "token_log_probs": list(pair.token_log_probs),
    }
    return as_json(fields)


def _said(summary: "Summary", max_tokens: int) -> str:
    message = f"{summary.pairs:,} pairs, {summary.tokens:,} target tokens"
    if summary.tokens:
        message += f", log-probability {summary.log_prob:.2f}, perplexity {summary.perplexity:.3f}"
    for count, how in (
        (summary.skipped, f"not scored: longer than {max_tokens:,} tokens"),
        (summary.blank, "blank on both sides, as translate makes them without the model"),
        (summary.in_parts, "longer than max_source_tokens, scored in parts as they are translated"),
        (
            summary.unsplit,
            "longer than max_source_tokens, but scored as a whole, unlike how they are translated: "
            "their targets have more or fewer sentences than the source has parts",
        ),
    ):
        if count:
            message += f"\n{count:,} of them {how}"
    return f"{message}\n"
