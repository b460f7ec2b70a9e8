"""``seqtrans translate``: raw text in, raw text out."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

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
from seqtrans.cli.streams import open_output, read_lines, with_progress, write_lines
from seqtrans.errors import SeqtransError

if TYPE_CHECKING:
    from seqtrans.tasks.translator import Candidate, Translation

Format = Literal["text", "jsonl"]


def translate(  # noqa: PLR0913 - typer's signature
    run: Run,
    text: Annotated[
        Path | None,
        typer.Argument(
            metavar="INPUT", help="Text, one line each; .gz, .xz, .zst too. [standard input]"
        ),
    ] = None,
    *,
    output: Output = None,
    output_format: Annotated[
        Format,
        typer.Option("--format", help="Text, or JSON with score, tokens and alternatives."),
    ] = "text",
    beam_size: Annotated[
        int | None, typer.Option(min=1, help="Hypotheses kept; 1 is greedy search.")
    ] = None,
    length_penalty: LengthPenalty = None,
    n_best: Annotated[
        int | None, typer.Option(min=1, help="Translations of each line; needs --format jsonl.")
    ] = None,
    max_length_factor: Annotated[
        float | None, typer.Option(help="Tokens of output allowed per token of input, above 0.")
    ] = None,
    batch_tokens: Annotated[
        int | None, typer.Option(min=1, help="Tokens of input translated at once.")
    ] = None,
    checkpoint: Checkpoint = "best",
    precision: Precision = "fp32",
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Translate text line by line: a line out for every line in.

    What is not given is as the recipe says.
    """
    from seqtrans.recipe import load_run
    from seqtrans.tasks.placement import use_threads
    from seqtrans.tasks.translator import Translator

    if (n_best or 1) > 1 and output_format == "text":
        raise SeqtransError(f"--n-best {n_best} needs --format jsonl: a line of text is one")
    use_threads(threads)
    with open_output(output) as file:
        loaded = load_run(run, checkpoint)
        config = overridden(
            loaded,
            beam_size=beam_size,
            length_penalty=length_penalty,
            n_best=n_best,
            max_length_factor=max_length_factor,
            batch_tokens=batch_tokens,
        )
        translator = Translator(loaded.model, loaded.segmenters, config, device, precision)
        translations = with_progress(translator.stream(read_lines(text)), "lines")
        write = _as_json if output_format == "jsonl" else _as_text
        write_lines(map(write, translations), file)


def _as_text(translation: "Translation") -> str:
    return translation.text


def _as_json(translation: "Translation") -> str:
    fields = _fields(translation)
    fields["alternatives"] = [_fields(other) for other in translation.alternatives]
    return json.dumps(fields, ensure_ascii=False)


def _fields(candidate: "Candidate") -> dict[str, object]:
    return {
        "translation": candidate.text,
        "score": candidate.score,
        "tokens": list(candidate.tokens),
    }
