"""``seqtrans reproduce``: whether a recipe gives here what it says."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seqtrans.cli.options import Changes, NewRun
from seqtrans.errors import RecipeError, TrainingError

if TYPE_CHECKING:
    from seqtrans.recipe.load import Recipe
    from seqtrans.translation.evaluation.metrics import MetricName


def reproduce(
    recipe: Annotated[Path, typer.Argument(help="YAML file with the key expected.")],
    *,
    run: NewRun = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue a run that stopped; score one that ended.")
    ] = False,
    settings: Changes = None,
) -> None:
    """Train as a recipe says, and compare the score with its own.

    Scored is the text or the images of data.test; of a translation recipe without one, the
    validation text. Exits with 2 if the score is below the band.
    """
    from seqtrans.cli.train import default_run, train
    from seqtrans.recipe.load import load_recipe

    chosen = load_recipe(recipe, settings or [])
    if chosen.expected is None:
        raise RecipeError(f"{recipe}: has no key expected, so there is nothing to compare with")
    path = run or default_run(recipe)
    try:
        devices = chosen.expected.devices
        train(recipe, run=path, resume=resume, settings=settings, devices=devices)
    except typer.Exit as done:  # as several processes always end
        if done.exit_code:
            raise
    _compare(recipe, chosen, path)


def _compare(path: Path, recipe: "Recipe", run: Path) -> None:
    """Score a run and print how it compares.

    Raises:
        TrainingError: The score is below the band.
    """
    from seqtrans.training.checkpoints.format import read_state
    from seqtrans.training.checkpoints.run_directory import open_run

    expected = recipe.expected
    assert expected is not None  # noqa: S101 - ``reproduce`` has seen to it
    if expected.metric == "accuracy":
        score = _accuracy(run, expected.checkpoint)
    else:
        score = _translation_score(run, expected.checkpoint, expected.metric)
    score = round(score, 6)  # sacreBLEU gives a perfect text 100.00000000000004
    low, high = expected.band
    where = "below" if score < low else "above" if score > high else "within"
    line = f"{expected.metric} {score:.4g} is {where} the band of {path}: {low:.4g} to {high:.4g}"
    if where == "below":
        raise TrainingError(line)
    seconds = read_state(open_run(run).pointed("last"))["state"]["seconds"]
    sys.stdout.write(
        f"{line}\ntraining took {seconds / 60:.1f} minutes; the recipe says {expected.minutes:g} "
        f"on {expected.machine}\n"
    )


def _translation_score(run: Path, checkpoint: str, metric: "MetricName") -> float:
    from seqtrans.translation.data.parallel_corpus import read_pairs
    from seqtrans.translation.evaluation.metrics import corpus_scores
    from seqtrans.translation.inference.line_windows import BLOCK_LINES
    from seqtrans.translation.recipe.load_run import load_run

    loaded = load_run(run, checkpoint)
    recipe = loaded.recipe
    pairs = list(read_pairs(*(recipe.data.test or recipe.data.validation)))
    translator = loaded.translator(recipe.decoding)
    found = translator.stream_blocks([source for source, _ in pairs], BLOCK_LINES)
    hypotheses = [translation.text for translation in found]
    measure = replace(recipe.validation.measure, metrics=(metric,))
    return corpus_scores(hypotheses, [target for _, target in pairs], measure)[metric]


def _accuracy(run: Path, checkpoint: str) -> float:
    from seqtrans.cli.parts.evaluate_classifier import judged

    return judged(run, checkpoint).judgement.confusion.accuracy
