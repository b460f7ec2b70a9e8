"""``seqtrans show``: what a run is and how far it has come."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from seqtrans.models.encoder_decoder import EncoderDecoder
    from seqtrans.training.run_directory import RunDirectory

SHOWN = ("loss", "perplexity", "bleu", "chrf", "chrf++", "ter")


def show(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    *,
    recipe: Annotated[
        bool, typer.Option("--recipe", help="Print the whole resolved recipe instead.")
    ] = False,
) -> None:
    """Summarise a run: its model, its checkpoints, their scores."""
    from seqtrans import config
    from seqtrans.data.segmentation import load_segmenters
    from seqtrans.recipe import TranslationRecipe, build_model
    from seqtrans.training.run_directory import open_run

    directory = open_run(run)
    settings = config.load(TranslationRecipe, directory.recipe)
    if recipe:
        sys.stdout.write(config.dump(settings))
        return
    segmenters = load_segmenters(directory.vocabulary)
    model = build_model(settings.model, segmenters)
    source, target = (len(segmenter.pieces) for segmenter in segmenters)
    halves = settings.model.encoder.kind, settings.model.decoder.kind
    sizes = (
        f"{source:,} (joint)" if segmenters.is_joint else f"{source:,} source, {target:,} target"
    )
    lines = [
        f"run          {run}",
        f"vocabulary   {sizes}",
        f"model        {halves[0]} encoder, {halves[1]} decoder",
        *_parameters(model),
        *_checkpoints(directory),
    ]
    sys.stdout.write("\n".join(lines) + "\n")


def _parameters(model: "EncoderDecoder") -> list[str]:
    """Number of parameters, of the whole and of each part; tied ones count once."""
    total = sum(parameter.numel() for parameter in model.parameters())
    seen: set[int] = set()
    parts: list[str] = []
    for name, part in model.named_children():
        own = {id(p): p.numel() for p in part.parameters() if id(p) not in seen}
        seen |= own.keys()
        parts.append(f"{name} {sum(own.values()):,}")
    return [f"parameters   {total:,}: {', '.join(parts)}"]


def _checkpoints(run: "RunDirectory") -> list[str]:
    """Every checkpoint with what validation measured, a row each."""
    from seqtrans.training import checkpoint
    from seqtrans.training.run_directory import AVERAGED

    names = [*map(str, run.steps())]
    if (run.checkpoints / AVERAGED).is_dir():
        names.append(AVERAGED)
    if not names:
        return ["checkpoints  none yet"]
    marks = {name: _marks(run, name) for name in names}
    lines: list[str] = []
    for name in names:
        state = checkpoint.read_state(run.checkpoints / name, check_files=False)
        found = {k: v for k, v in state["metrics"].items() if k in SHOWN}
        measured = ", ".join(f"{k} {v:.4g}" for k, v in found.items()) or "not validated"
        lines.append(f"checkpoint   {name:>8}  {measured}{marks[name]}")
    return lines


def _marks(run: "RunDirectory", name: str) -> str:
    pointers = (p for p in ("best", "last") if (run.checkpoints / p).is_file())
    marks = [p for p in pointers if run.pointed(p).name == name]
    return f"  <- {', '.join(marks)}" if marks else ""
