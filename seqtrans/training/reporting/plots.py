"""Pictures of a run: the one wrapper of matplotlib, from the extra ``plots``."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seqtrans.errors import DataError
from seqtrans.runtime.files.atomic_files import open_aside

Curve = Sequence[tuple[int, float]]  # step and value

_LOSSES = {
    "train/nll": "training",
    "train/loss": "training, as minimized",
    "valid/loss": "validation",
}
_SCORES = {
    "train/accuracy": "accuracy in training",
    "valid/accuracy": "accuracy in validation",
    "valid/bleu": "BLEU",
    "valid/chrf": "chrF",
    "valid/chrf++": "chrF++",
    "valid/ter": "TER",
}


def read_curves(metrics: Path) -> dict[str, list[tuple[int, float]]]:
    """Read values by name and step from a ``metrics.jsonl``, without lines that are cut short.

    Raises:
        DataError: The file can't be read.
    """
    try:
        lines = metrics.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise DataError(f"{metrics}: can't be read: {error.strerror}") from error
    curves: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for line in lines:
        try:
            entry = json.loads(line)
            step = int(entry.pop("step"))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            continue
        for name, value in entry.items():
            if isinstance(value, int | float):
                curves[name].append((step, float(value)))
    return dict(curves)


def draw_curves(curves: Mapping[str, Curve], path: Path) -> None:
    """Draw loss and scores by step into a PNG file.

    Raises:
        ImportError: The extra ``plots`` is not installed.
    """
    # What is minimized may be smoothed and of mixed images: it is shown where nothing plainer is.
    left_out = "train/loss" if "train/nll" in curves else None
    losses = {
        t: curves[name] for name, t in _LOSSES.items() if curves.get(name) and name != left_out
    }
    scores = {title: curves[name] for name, title in _SCORES.items() if curves.get(name)}
    panels = [p for p in ((losses, "loss, nats"), (scores, "score")) if p[0]]
    figure = _figure((6.4 * max(1, len(panels)), 4.8))
    for column, (named, label) in enumerate(panels, start=1):
        axes = figure.add_subplot(1, len(panels), column)
        for title, curve in named.items():
            steps, values = zip(*curve, strict=True)
            axes.plot(steps, values, label=title, marker="." if len(curve) < 50 else "")
        axes.set_xlabel("step")
        axes.set_ylabel(label)
        axes.grid(visible=True, alpha=0.3)
        axes.legend()
    _save(figure, path)


def draw_confusion(counts: Sequence[Sequence[int]], classes: Sequence[str], path: Path) -> None:
    """Draw what is taken for what into a PNG file; shades are shares of a row.

    Args:
        counts: Row i, column j: how many of class i were called class j.
        classes: Names of the classes.
        path: File to write.

    Raises:
        ImportError: The extra ``plots`` is not installed.
    """
    shares = [[count / max(1, sum(row)) for count in row] for row in counts]
    side = min(40.0, 2.0 + 0.5 * len(classes))
    figure = _figure((side, side))
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    places = range(len(classes))
    axes.set_xticks(places, classes, rotation=90)
    axes.set_yticks(places, classes)
    axes.set_xlabel("called")
    axes.set_ylabel("is")
    for row, (numbers, parts) in enumerate(zip(counts, shares, strict=True)):
        for column, count in enumerate(numbers):
            if count:
                color = "white" if parts[column] > 0.5 else "black"
                axes.text(column, row, str(count), ha="center", va="center", color=color)
    _save(figure, path)


def draw_heat_map(
    rows: Sequence[str], columns: Sequence[str], weights: Sequence[Sequence[float]], path: Path
) -> None:
    """Draw numbers from 0 to 1 as shades into a PNG file.

    Args:
        rows: Names of the rows.
        columns: Names of the columns, shown at the top.
        weights: Row by row.
        path: File to write.

    Raises:
        ImportError: The extra ``plots`` is not installed.
    """
    size = (min(40.0, 2.0 + 0.45 * len(columns)), min(40.0, 1.6 + 0.35 * len(rows)))
    figure = _figure(size)
    axes = figure.add_subplot()
    image = axes.imshow(weights, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(columns)), list(map(_plain, columns)), rotation=45, ha="left")
    axes.set_yticks(range(len(rows)), list(map(_plain, rows)))
    axes.xaxis.tick_top()
    figure.colorbar(image, ax=axes)
    _save(figure, path)


def draw_points(names: Sequence[str], places: Sequence[Sequence[float]], path: Path) -> None:
    """Draw named points of a plane into a PNG file.

    Args:
        names: Name of each point.
        places: Its two coordinates.
        path: File to write.

    Raises:
        ImportError: The extra ``plots`` is not installed.
    """
    figure = _figure((8, 6))
    axes = figure.add_subplot()
    axes.scatter(*zip(*places, strict=True), s=12)
    axes.margins(0.12)
    for name, place in zip(names, places, strict=True):
        axes.annotate(_plain(name), (place[0], place[1]), xytext=(4, 3), textcoords="offset points")
    _save(figure, path)


def _figure(size: tuple[float, float]) -> Any:
    """Return an empty figure of a size in inches; its canvas needs no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _plain(text: str) -> str:
    """Return text that is not read as a formula, which $ would begin."""
    return text.replace("$", r"\$")


def _save(figure: Any, path: Path) -> None:
    with open_aside(path) as file:
        figure.savefig(file, format="png", dpi=120)
