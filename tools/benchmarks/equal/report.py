"""The table, the sentence about time, and the plot of ``equal_time.py``, from its results."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from seqtrans.translation.evaluation.metrics import Measure, Score, score_systems

OURS = "seqtrans"
MEASURE = Measure(metrics=("bleu", "chrf"))

Run = Mapping[str, Any]


def by_label(results: Mapping[str, Any]) -> dict[str, list[Run]]:
    """Return the runs of every entrant, one a seed."""
    found: dict[str, list[Run]] = defaultdict(list)
    for run in results["runs"]:
        found[run["label"]].append(run)
    return dict(found)


def middle(runs: Iterable[Run]) -> Run:
    """Return the run of median BLEU; of two, the lower one."""
    ordered = sorted(runs, key=lambda run: run["bleu"])
    return ordered[(len(ordered) - 1) // 2]


def best_peer(entrants: Mapping[str, list[Run]]) -> str | None:
    """Return the label of the peer with the highest mean BLEU."""
    means = {
        label: statistics.mean(run["bleu"] for run in runs)
        for label, runs in entrants.items()
        if runs[0]["system"] != OURS
    }
    return max(means, key=means.__getitem__, default=None)


def table(results: Mapping[str, Any]) -> str:
    """Return a Markdown table of all entrants, the best first, with signatures below."""
    entrants = by_label(results)
    best, scores = best_peer(entrants), _scores(results, entrants)
    header = (
        "system",
        "BLEU",
        "chrF",
        "over seeds",
        "p against best peer",
        "updates",
        "weights of",
    )
    rows = [header, ("---", *("--:",) * 6)]
    means = {
        label: statistics.mean(run["bleu"] for run in runs) for label, runs in entrants.items()
    }
    for label in sorted(entrants, key=lambda label: -means[label]):
        runs, chosen = entrants[label], middle(entrants[label])
        bleu, chrf = (scores[label, metric] for metric in ("bleu", "chrf"))
        values = [run["bleu"] for run in runs]
        rows.append(
            (
                f"{label} {chosen['version']}",
                _with_interval(bleu),
                _with_interval(chrf),
                f"{min(values):.1f} to {max(values):.1f} ({len(values)})"
                if len(values) > 1
                else "",
                "best peer" if label == best else _p_value(bleu),
                f"{chosen['updates']:,}",
                f"{chosen['minutes']:.1f} min",
            )
        )
    lines = [f"| {' | '.join(row)} |" for row in rows]
    signatures = sorted({f"{score.name}|{score.signature}" for score in scores.values()})
    return "\n".join([*lines, "", *signatures])


def _scores(
    results: Mapping[str, Any], entrants: Mapping[str, list[Run]]
) -> dict[tuple[str, str], Score]:
    """Return scores by label and metric; tests compare with the best peer."""
    best = best_peer(entrants)
    labels = sorted(entrants, key=lambda label: label != best)
    systems = {label: middle(entrants[label])["translations"] for label in labels}
    paired = "bootstrap" if best and len(labels) > 1 else None
    references = {"reference": results["reference"]}
    found = score_systems(systems, references, MEASURE, confidence=True, paired=paired)
    return {(score.system, score.metric): score for score in found}


def _with_interval(score: Score) -> str:
    return f"{score.value:.1f} ± {score.half_width:.1f}"


def _p_value(score: Score) -> str:
    return "" if score.p_value is None else f"{score.p_value:.3f}"


def time_to_reach(results: Mapping[str, Any]) -> str | None:
    """Return when seqtrans reached what the best peer has at the end, by BLEU on ``dev``."""
    entrants = by_label(results)
    best = best_peer(entrants)
    ours = [label for label, runs in entrants.items() if runs[0]["system"] == OURS]
    if best is None or not ours:
        return None
    final = max(point["bleu"] for point in middle(entrants[best])["curve"])
    reached = [
        point["minutes"] for point in middle(entrants[ours[0]])["curve"] if point["bleu"] >= final
    ]
    when = f"after {min(reached):.1f} minutes" if reached else "never"
    return f"{final:.1f} BLEU on dev, the best of {best}, seqtrans reaches {when}."


def plot(results: Mapping[str, Any], path: Path) -> None:
    """Draw BLEU on ``dev`` against minutes of training, a line for each run.

    Raises:
        ImportError: The extra ``plots`` is not installed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(
        xlabel="minutes of training", ylabel="BLEU on dev", title=results["conditions"]["data"]
    )
    for number, (label, runs) in enumerate(by_label(results).items()):
        for run in runs:
            minutes = [point["minutes"] for point in run["curve"]]
            bleu = [point["bleu"] for point in run["curve"]]
            name = label if run is runs[0] else None
            width = 2.5 if run["system"] == OURS else 1.2
            axes.plot(minutes, bleu, f"C{number}", marker=".", label=name, linewidth=width)
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
