"""``seqtrans show``: what a run is and how far it has come."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seqtrans.errors import CheckpointError

if TYPE_CHECKING:
    from torch import nn

    from seqtrans.images.recipe.schema import ClassificationRecipe
    from seqtrans.training.checkpoints.run_directory import RunDirectory
    from seqtrans.translation.recipe.schema import TranslationRecipe

SHOWN_CLASSES = 10
SHOWN = ("loss", "accuracy", "perplexity", "bleu", "chrf", "chrf++", "ter")


def show(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    *,
    recipe: Annotated[
        bool, typer.Option("--recipe", help="Print the complete recipe instead.")
    ] = False,
) -> None:
    """Summarize a run: model, checkpoints and scores."""
    from seqtrans import config
    from seqtrans.cli.text_io import print_data
    from seqtrans.recipe.load import stored_recipe
    from seqtrans.training.checkpoints.run_directory import open_run

    directory = open_run(run)
    settings = stored_recipe(directory)
    if recipe:
        print_data(config.dump(settings))
        return
    if settings.task == "translation":
        about = _translation(settings, directory)
    else:
        about = _classification(settings, directory)
    lines = [f"run          {run}", *about, *_checkpoints(directory)]
    sys.stdout.write("\n".join(lines) + "\n")


def _translation(settings: "TranslationRecipe", directory: "RunDirectory") -> list[str]:
    from seqtrans.translation.recipe.build import build_model
    from seqtrans.translation.tokenization.segmenters import load_segmenters

    segmenters = load_segmenters(directory.vocabulary)
    source, target = (len(segmenter.pieces) for segmenter in segmenters)
    halves = settings.model.encoder.kind, settings.model.decoder.kind
    sizes = (
        f"{source:,} (joint)" if segmenters.is_joint else f"{source:,} source, {target:,} target"
    )
    return [
        f"vocabulary   {sizes}",
        f"model        {halves[0]} encoder, {halves[1]} decoder",
        *_parameters(build_model(settings.model, segmenters)),
    ]


def _classification(settings: "ClassificationRecipe", directory: "RunDirectory") -> list[str]:
    from seqtrans.images.recipe.build import build_untrained, known_facts

    facts = known_facts(directory)
    channels, height, width = facts.shape
    seen = facts.input_shape(settings.data.resize)
    named = ", ".join(facts.classes[:SHOWN_CLASSES])
    more = ", ..." if len(facts.classes) > SHOWN_CLASSES else ""
    return [
        f"classes      {len(facts.classes):,}: {named}{more}",
        f"images       {height} x {width} pixels, {channels} channel{'s'[: channels - 1]}"
        + (f", seen at {seen.height} x {seen.width}" if settings.data.resize else ""),
        f"model        {settings.model.kind}",
        *_parameters(build_untrained(settings.model, seen, len(facts.classes), directory)),
    ]


def _parameters(model: "nn.Module") -> list[str]:
    """Return the number of parameters in all and of each part; tied ones count once."""
    total = sum(parameter.numel() for parameter in model.parameters())
    seen: set[int] = set()
    parts: list[str] = []
    for name, part in model.named_children():
        counts = {id(p): p.numel() for p in part.parameters() if id(p) not in seen}
        seen |= counts.keys()
        parts.append(f"{name} {sum(counts.values()):,}")
    return [f"parameters   {total:,}" + (f": {', '.join(parts)}" if parts else "")]


def _checkpoints(run: "RunDirectory") -> list[str]:
    """Return a line for every checkpoint with its validation metrics."""
    from seqtrans.training.checkpoints import format as checkpoint
    from seqtrans.training.checkpoints.run_directory import AVERAGED

    names = [*map(str, run.steps())]
    if (run.checkpoints / AVERAGED).is_dir():
        names.append(AVERAGED)
    if not names:
        return ["checkpoints  none yet"]
    marks = {name: _marks(run, name) for name in names}
    lines: list[str] = []
    for name in names:
        state = checkpoint.read_state(run.checkpoints / name, check_files=False)
        metrics = {k: v for k, v in state["metrics"].items() if k in SHOWN}
        measured = ", ".join(f"{k} {v:.4g}" for k, v in metrics.items()) or "not validated"
        lines.append(f"checkpoint   {name:>8}  {measured}{marks[name]}")
    return lines


def _marks(run: "RunDirectory", name: str) -> str:
    marks = [pointer for pointer in ("best", "last") if _pointed(run, pointer) == name]
    return f"  <- {', '.join(marks)}" if marks else ""


def _pointed(run: "RunDirectory", pointer: str) -> str:
    try:
        return run.pointed(pointer).name
    except CheckpointError:  # none yet, or it was deleted
        return ""
