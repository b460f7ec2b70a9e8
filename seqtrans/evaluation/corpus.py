"""Scores of translated texts: the one wrapper of sacreBLEU (arXiv:1804.08771).

Every value comes with the signature that makes it comparable, and equals what the ``sacrebleu``
command prints for the same files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, cast, get_args

from seqtrans.errors import DataError

if TYPE_CHECKING:
    from sacrebleu.metrics.base import Metric
    from sacrebleu.significance import Result

MetricName = Literal["bleu", "chrf", "chrf++", "ter"]
Tokenizer = Literal["13a", "intl", "char", "zh", "none"]
PairedTestName = Literal["bootstrap", "randomisation"]
METRICS: tuple[MetricName, ...] = get_args(MetricName)

BOOTSTRAP_SAMPLES = 1000  # sacreBLEU's default, as is the seed 12345 (SACREBLEU_SEED changes it)


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What is measured, and how text is prepared for it.

    Attributes:
        metrics: Each is measured once, in this order.
        lowercase: Ignore case in BLEU and chrF; TER always does.
        tokenize: How BLEU cuts text into words; the others have their own ways.
    """

    metrics: tuple[MetricName, ...] = METRICS
    lowercase: bool = False
    tokenize: Tokenizer = "13a"


class Score(NamedTuple):
    """One metric of one system, and the exact settings it was computed with.

    ``value`` is between 0 and 100, though TER may exceed it; TER is better the lower it is.
    ``mean`` and ``half_width`` are of the 95 % interval over bootstrap samples. ``p_value`` is
    the probability of a difference from the first system as large as this by chance.
    """

    system: str
    metric: MetricName
    name: str  # as publications write it, such as chrF2++
    value: float
    signature: str
    mean: float | None = None
    half_width: float | None = None
    p_value: float | None = None


def corpus_scores(
    hypotheses: Sequence[str], references: Sequence[str], metrics: Sequence[MetricName]
) -> dict[str, float]:
    """Values of metrics by name, of translations that have one reference each."""
    measure = Measure(metrics=tuple(metrics))
    found = score_systems({"hypotheses": hypotheses}, {"references": references}, measure)
    return {score.metric: score.value for score in found}


def score_systems(
    systems: Mapping[str, Sequence[str]],
    references: Mapping[str, Sequence[str]],
    measure: Measure,
    *,
    confidence: bool = False,
) -> list[Score]:
    """Score systems by name, each against all the references, in the order given.

    Args:
        systems: For every system its translations, line by line.
        references: One or more texts by name, each a right translation line by line.
        measure: What to measure.
        confidence: Whether to estimate an interval by bootstrap resampling.

    Raises:
        DataError: A text is empty, or has not as many lines as the others.
    """
    _check_lengths(systems, references)
    samples = BOOTSTRAP_SAMPLES if confidence else 1
    scores: list[Score] = []
    for name, metric in _metrics(measure, references).items():
        for system, hypotheses in systems.items():
            found = metric.corpus_score(list(hypotheses), None, n_bootstrap=samples)
            interval = (found._mean, found._ci) if confidence else (None, None)  # pyright: ignore[reportPrivateUsage]
            numbers = (_number(n) for n in interval)
            signature = metric.get_signature().format()
            scores.append(Score(system, name, found.name, found.score, signature, *numbers))
    return scores


def compare_systems(
    systems: Mapping[str, Sequence[str]],
    references: Mapping[str, Sequence[str]],
    measure: Measure,
    test: PairedTestName,
) -> list[Score]:
    """Score systems and test how each differs from the first; see ``score_systems``.

    Raises:
        DataError: There is one system only, or texts do not fit.
    """
    from sacrebleu.significance import PairedTest

    _check_lengths(systems, references)
    if len(systems) < 2:
        raise DataError("a paired test compares systems: give two files of translations or more")
    metrics = _metrics(measure, references)
    named = [(system, list(hypotheses)) for system, hypotheses in systems.items()]
    tested = PairedTest(
        cast("list[tuple[str, Sequence[str]]]", named),
        cast("dict[str, Metric]", metrics),
        references=None,  # the metrics hold them
        test_type="bs" if test == "bootstrap" else "ar",
    )
    signatures, results = tested()
    scores: list[Score] = []
    for name, title in zip(metrics, tested.metrics, strict=True):
        signature = signatures[title].format()
        for system, result in zip(systems, cast("list[Result]", results[title]), strict=True):
            numbers = (_number(n) for n in (result.mean, result.ci, result.p_value))
            scores.append(Score(system, name, title, result.score, signature, *numbers))
    return scores


def _metrics(
    measure: Measure, references: Mapping[str, Sequence[str]]
) -> dict[MetricName, "Metric"]:
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF
    from sacrebleu.metrics.ter import TER

    texts = [list(reference) for reference in references.values()]
    metrics: dict[MetricName, Metric] = {}
    for name in measure.metrics:
        match name:
            case "bleu":
                metrics[name] = BLEU(
                    lowercase=measure.lowercase, tokenize=measure.tokenize, references=texts
                )
            case "chrf":
                metrics[name] = CHRF(lowercase=measure.lowercase, references=texts)
            case "chrf++":
                metrics[name] = CHRF(word_order=2, lowercase=measure.lowercase, references=texts)
            case "ter":
                metrics[name] = TER(references=texts)
    return metrics


def _number(value: float | None) -> float | None:
    """A plain float of what may be numpy's."""
    return None if value is None else float(value)


def _check_lengths(
    systems: Mapping[str, Sequence[str]], references: Mapping[str, Sequence[str]]
) -> None:
    counts = {name: len(lines) for name, lines in (*references.items(), *systems.items())}
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{name} has {count} lines" for name, count in counts.items())
        raise DataError(f"translations are compared line by line, but {said}")
    if not all(counts.values()):
        raise DataError(f"there is nothing to score: {', '.join(counts)} have no lines")
