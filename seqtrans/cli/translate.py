"""``seqtrans translate``: raw text in, raw text out."""

from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from seqtrans.cli.options import (
    Checkpoint,
    DecodingChanges,
    Device,
    LengthPenalty,
    Precision,
    Run,
    Threads,
    overridden,
)
from seqtrans.cli.parts.bulk import translate_in_bulk
from seqtrans.cli.text_io import open_output, read_lines, with_progress, write_lines
from seqtrans.errors import SeqtransError
from seqtrans.translation.inference.detail_names import check_details
from seqtrans.translation.inference.line_windows import BLOCK_LINES as SHARD_LINES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from seqtrans.translation.inference.detail_names import Detail
    from seqtrans.translation.inference.translator import Format, Translator


def translate(  # noqa: PLR0913 - typer's signature
    run: Run,
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[RUN]... [INPUT]...",
            help="More runs, to translate as an ensemble; then text files, plain or .gz, .bz2, "
            ".xz, .zst. [standard input]",
        ),
    ] = None,
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Output file, written when complete; a folder for bulk jobs. [standard output]",
        ),
    ] = None,
    output_format: Annotated[
        Literal["text", "jsonl"],
        typer.Option("--format", help="Text, or JSON lines with score, tokens and alternatives."),
    ] = "text",
    details: Annotated[
        list[str] | None,
        typer.Option(
            help="Add to JSON lines: alignment (of words), confidence (of words and the sentence), "
            "attention, warnings (of text that looks wrong); may be repeated."
        ),
    ] = None,
    settings: Annotated[
        Literal["decoding", "validation"],
        typer.Option(
            help="Search as the recipe says under decoding, or under validation.decoding."
        ),
    ] = "decoding",
    beam_size: Annotated[
        int | None, typer.Option(min=1, help="Number of hypotheses; 1 is greedy search.")
    ] = None,
    length_penalty: LengthPenalty = None,
    n_best: Annotated[
        int | None, typer.Option(min=1, help="Translations of each line; needs --format jsonl.")
    ] = None,
    max_length_factor: Annotated[
        float | None, typer.Option(help="Longest output, in tokens for each token of input.")
    ] = None,
    no_repeat_ngram: Annotated[
        int | None,
        typer.Option(min=0, help="Never repeat an n-gram of this many tokens; 0 allows it."),
    ] = None,
    batch_tokens: Annotated[
        int | None, typer.Option(min=1, help="Largest batch, in tokens of input.")
    ] = None,
    changes: DecodingChanges = None,
    checkpoint: Checkpoint = "best",
    combination: Annotated[
        Literal["probabilities", "log_probabilities"],
        typer.Option("--ensemble", help="What of several runs is averaged."),
    ] = "probabilities",
    precision: Precision = "fp32",
    device: Device = "auto",
    threads: Threads = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Bulk job: number of processes. [one per core, or per GPU]"),
    ] = None,
    engine: Annotated[
        Literal["local", "ray"] | None,
        typer.Option(help="Bulk job: run on this machine or on a Ray cluster. [local]"),
    ] = None,
    shard_lines: Annotated[
        int | None,
        typer.Option(
            min=1, help=f"Bulk job: lines per shard, the most lost when killed. [{SHARD_LINES}]"
        ),
    ] = None,
) -> None:
    """Translate text, one line of output for each line of input.

    Options that are not given have the values of the recipe's key decoding, or of
    validation.decoding with --settings validation, as in the validations of the training.

    Several inputs, a folder as output, or an option for bulk jobs start a bulk job. It translates
    files with many processes; after an interruption the same command continues it. A worker uses
    one core unless --threads says more.
    """
    from seqtrans.runtime.device import use_threads
    from seqtrans.runtime.memory import limit_memory_to_cgroup
    from seqtrans.translation.recipe.load_run import load_ensemble

    runs, inputs = _runs_and_texts(run, inputs or [])
    limit_memory_to_cgroup()
    loaded = load_ensemble(runs, checkpoint, combination)
    config = overridden(
        loaded,
        settings,
        changes or (),
        beam_size=beam_size,
        length_penalty=length_penalty,
        n_best=n_best,
        max_length_factor=max_length_factor,
        no_repeat_ngram=no_repeat_ngram,
        batch_tokens=batch_tokens,
    )
    wanted = _checked(details or (), None if config.mbr else n_best, output_format)
    if any((workers, engine, shard_lines, len(inputs) > 1, output and output.is_dir())):
        from seqtrans.translation.bulk import Means, describe

        work = describe(
            run=run,
            checkpoint=loaded.checkpoint,
            decoding=vars(config),
            precision=precision,
            output_format=output_format,
            details=wanted,
            shard_lines=shard_lines or SHARD_LINES,
            sources=_files(inputs, runs),
        )
        translate_in_bulk(work, output, Means(engine or "local", workers, threads or 1, device))
        return
    use_threads(threads)
    with open_output(output) as file:
        translator = loaded.translator(config, device, precision, wanted)
        write_lines(with_progress(_lines(translator, inputs, output_format), "lines"), file)


def _lines(
    translator: "Translator", inputs: list[Path], output_format: "Format"
) -> "Iterator[str]":
    """Yield lines of output; of a file in batches as in a bulk job, for the same digits."""
    from seqtrans.translation.inference.translator import render

    text = inputs[0] if inputs else None
    if text is not None and text.is_file():
        translations = translator.stream_blocks(read_lines(text), SHARD_LINES)
    else:
        translations = translator.stream(read_lines(text))
    return (render(translation, output_format) for translation in translations)


def _checked(
    details: "Sequence[str]", n_best: int | None, output_format: str
) -> "Sequence[Detail]":
    """Return the details, if they and the n best translations fit into the format."""
    if details and output_format == "text":
        raise SeqtransError(f"--details {details[0]} needs --format jsonl: a line of text is one")
    if (n_best or 1) > 1 and output_format == "text":
        raise SeqtransError(f"--n-best {n_best} needs --format jsonl: a line of text is one")
    return check_details(details)


def _runs_and_texts(run: Path, more: list[Path]) -> tuple[list[Path], list[Path]]:
    """Return the runs of an ensemble and the text files, which come after them."""
    from seqtrans.training.checkpoints.run_directory import RunDirectory

    runs = [run, *takewhile(lambda path: RunDirectory(path).is_there(), more)]
    return runs, more[len(runs) - 1 :]


def _files(inputs: list[Path], runs: list[Path]) -> list[Path]:
    """Return the inputs of a bulk job; they must be files, as it reads them more than once."""
    if len(runs) > 1:
        raise SeqtransError("a bulk job translates with one run, not with an ensemble")
    if not inputs or any(str(path) == "-" for path in inputs):
        raise SeqtransError("a bulk job reads files: name them, or leave its options away")
    return inputs
