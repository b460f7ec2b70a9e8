"""What ``seqtrans evaluate`` does with a run of an image classifier."""

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from seqtrans.cli.text_io import print_data
from seqtrans.errors import DataError, RecipeError
from seqtrans.runtime.files.strict_json import as_json

if TYPE_CHECKING:
    from seqtrans.images.confusion_matrix import Confusion
    from seqtrans.images.data.dataset import ImageSet
    from seqtrans.images.error_analysis import Judgement, Mistake

logger = logging.getLogger(__name__)

SHOWN_CLASSES = 20  # a larger matrix fits on no screen
SHOWN_MISTAKES = 36


def evaluate_run(path: Path, checkpoint: str, output_format: Literal["table", "json"]) -> None:
    """Classify the test images of a run, print the scores and keep them in the run.

    Raises:
        SeqtransError: See ``judged``.
    """
    from seqtrans.training.reporting.loggers import log_to_stderr

    with log_to_stderr():
        judged_run = judged(path, checkpoint)
        judgement = judged_run.judgement
        report = {"checkpoint": judged_run.checkpoint, **_report(judgement)}
        text = as_json(report, indent=1) + "\n"
        if output_format == "table":
            sys.stdout.write(_table(judgement.confusion))
            sys.stdout.flush()
        else:
            print_data(text)
        _keep(path, text, judgement, judged_run.images)


class Judged(NamedTuple):
    """What a run makes of its test images."""

    checkpoint: str
    images: "ImageSet"
    judgement: "Judgement"


def judged(path: Path, checkpoint: str) -> Judged:
    """Classify the test images of a run.

    Raises:
        SeqtransError: There is no such run or checkpoint, or its test images can't be read.
    """
    from seqtrans.images.error_analysis import judge
    from seqtrans.images.recipe.build import load_classifier
    from seqtrans.images.recipe.load_data import read_like
    from seqtrans.runtime.memory import limit_memory_to_cgroup, prepare_memory

    limit_memory_to_cgroup()
    prepare_memory()  # pictures are drawn in the end
    classifier = load_classifier(path, checkpoint)
    files = classifier.recipe.data.test
    if files is None:
        raise DataError(f"{path / 'recipe.yaml'}: data.test is null: name the test images there")
    images = read_like(files, classifier.facts, "test")
    normalisation, resize = classifier.facts.normalisation, classifier.recipe.data.resize
    judgement = judge(classifier.model, images, normalisation, resize)
    return Judged(classifier.checkpoint.name, images, judgement)


def _report(judgement: "Judgement") -> dict[str, Any]:
    names = judgement.confusion.classes
    return {
        "accuracy": judgement.confusion.accuracy,
        "images": judgement.confusion.total,
        "classes": [score._asdict() for score in judgement.confusion.by_class()],
        "confusion": judgement.confusion.counts,
        "mistakes": [
            {**m._asdict(), "label": names[m.label], "called": names[m.called]}
            for m in judgement.mistakes
        ],
    }


def _keep(path: Path, text: str, judgement: "Judgement", images: "ImageSet") -> None:
    """Write ``confusion.json``, and the pictures for which the libraries are there."""
    from seqtrans.runtime.files.atomic_files import open_aside, write_atomically
    from seqtrans.training.reporting.plots import draw_confusion

    write_atomically(path / "confusion.json", text)
    try:
        confusion = judgement.confusion
        draw_confusion(confusion.counts, confusion.classes, path / "confusion.png")
    except ImportError:
        logger.info("no confusion.png: that takes pip install 'seqtrans[plots]'")
    sheet = path / "mistakes.png"
    shown = judgement.mistakes[:SHOWN_MISTAKES]
    if not shown:
        sheet.unlink(missing_ok=True)
        return
    try:
        with open_aside(sheet) as file:
            _save_mistakes(shown, images, file)
    except RecipeError as error:
        logger.info("no mistakes.png: %s", error)


def _save_mistakes(shown: "list[Mistake]", images: "ImageSet", file: Any) -> None:
    import numpy as np

    from seqtrans.images.data.contact_sheet import save_sheet

    names = images.classes
    captions = [f"is {names[m.label]}\ncalled {names[m.called]} {m.probability:.0%}" for m in shown]
    chosen = images.take(np.array([m.number for m in shown]))
    save_sheet(chosen.images, captions, file)


def _table(confusion: "Confusion") -> str:
    """Return the accuracy, a row for every class, and the matrix if it is small."""
    right = f"{confusion.right:,} of {confusion.total:,} images"
    lines = [f"accuracy {confusion.accuracy:.2%}: {right}", ""]
    rows = [["class", "images", "precision", "recall"]]
    for score in confusion.by_class():
        shares = ("-" if s is None else f"{s:.2%}" for s in (score.precision, score.recall))
        rows.append([score.name, f"{score.images:,}", *shares])
    lines += _aligned(rows)
    if len(confusion.classes) <= SHOWN_CLASSES:
        lines += ["", "rows: what images are; columns: what they are called"]
        named = zip(confusion.classes, confusion.counts, strict=True)
        matrix = [[name, *(f"{n or '.'}" for n in counts)] for name, counts in named]
        lines += _aligned([["", *confusion.classes], *matrix])
    return "".join(f"{line}\n" for line in lines)


def _aligned(rows: list[list[str]]) -> list[str]:
    """Return rows as lines with aligned columns: the first to the left, the others right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    ]
