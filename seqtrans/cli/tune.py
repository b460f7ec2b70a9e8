"""``seqtrans tune``: find the settings of decoding that give the best validation scores."""

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from seqtrans.cli.options import Device, Precision, Threads
from seqtrans.cli.text_io import print_data

if TYPE_CHECKING:
    from collections.abc import Iterable

    from seqtrans.translation.recipe.tune import Trial, Tuner


def tune(  # noqa: PLR0913 - typer's signature
    run: Annotated[Path, typer.Argument(help="Run directory of a trained translation model.")],
    *,
    metric: Annotated[Literal["bleu", "chrf"], typer.Option(help="Metric to maximize.")] = "bleu",
    checkpoint: Annotated[
        list[str] | None,
        typer.Option(
            help="Checkpoint to try: best, last, averaged or a step number; may be repeated. "
            "[those of best, last and averaged that are there]"
        ),
    ] = None,
    beam_size: Annotated[
        list[int] | None, typer.Option(min=1, help="Beam size to try; may be repeated.")
    ] = None,
    length_penalty: Annotated[
        list[float] | None, typer.Option(min=0, help="Length penalty to try; may be repeated.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Change nothing; also while the run is trained.")
    ] = False,
    precision: Precision = "fp32",
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Find the best beam size, length penalty and checkpoint.

    They are those with the best score on the validation set of the run. A row is printed for every
    trial, with tabs between columns. The best settings are stored in the run: beam size and length
    penalty in its recipe, the checkpoint as its best one.
    """
    from seqtrans.runtime.device import use_threads
    from seqtrans.runtime.memory import limit_memory_to_cgroup
    from seqtrans.training.checkpoints.run_directory import open_run, writing
    from seqtrans.translation.recipe.tune import (
        BEAM_SIZES,
        LENGTH_PENALTIES,
        Choices,
        Trial,
        Tuner,
    )

    choices = Choices(
        checkpoints=checkpoint or (),
        beam_sizes=beam_size or BEAM_SIZES,
        length_penalties=length_penalty or LENGTH_PENALTIES,
    )
    open_run(run)  # ``writing`` would make one
    limit_memory_to_cgroup()
    use_threads(threads)
    with nullcontext() if dry_run else writing(run):
        tuner = Tuner(run, choices, metric, device, precision)
        _print(Trial._fields)
        for trial in tuner.run():
            _print(_row(trial))
        if not dry_run:
            tuner.store(tuner.best)
    where = "nothing is stored" if dry_run else f"stored in {run}"
    sys.stderr.write(f"{_summary(tuner, metric)}; {where}\n")


def _print(columns: "Iterable[str]") -> None:
    print_data("\t".join(columns) + "\n")


def _row(trial: "Trial") -> list[str]:
    name, size, penalty, *scores = trial
    return [name, str(size), f"{penalty:g}", *(f"{score:.2f}" for score in scores)]


def _summary(tuner: "Tuner", metric: str) -> str:
    best = tuner.best
    before = [trial for trial in tuner.trials if trial[:3] == tuner.present]
    was = f", which was {getattr(before[0], metric):.2f}" if before else ""
    return (
        f"checkpoint {best.checkpoint}, beam size {best.beam_size}, length penalty "
        f"{best.length_penalty:g}: {metric} {getattr(best, metric):.2f}{was}"
    )
