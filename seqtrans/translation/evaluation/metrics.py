"""Scores of translated texts: the one wrapper of sacreBLEU (arXiv:1804.08771).

Every value comes with the signature that makes it comparable, and equals what the ``sacrebleu``
command prints for the same files.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from seqtrans.errors import DataError

if TYPE_CHECKING:
    from sacrebleu.metrics.base import Metric

MetricName = Literal["bleu", "chrf", "chrf++", "ter"]
Tokenizer = Literal[
    "13a", "intl", "zh", "ja-mecab", "ko-mecab", "char", "flores101", "flores200", "spm", "none"
]
PairedTestName = Literal["bootstrap", "randomisation"]
METRICS: tuple[MetricName, ...] = get_args(MetricName)
TOKENIZERS: tuple[Tokenizer, ...] = get_args(Tokenizer)

_EXTRAS = {"ja-mecab": "ja", "ko-mecab": "ko"}
_MODELS = ("flores101", "flores200", "spm")


@dataclass(frozen=True, kw_only=True)
class Measure:
    """Metrics to compute, and how text is prepared for them.

    Attributes:
        metrics: Each is measured once, in this order.
        lowercase: Ignore case in BLEU and chrF; TER always does.
        tokenize: How BLEU cuts text into words; the others have their own ways.
    """

    metrics: tuple[MetricName, ...] = ("bleu", "chrf", "chrf++")
    lowercase: bool = False
    tokenize: Tokenizer = "13a"


class Score(NamedTuple):
    """One metric of one system, and the exact settings it was computed with.

    ``value`` is between 0 and 100, though TER may exceed it; TER is better the lower it is.
    ``mean`` and ``half_width`` are of the 95 % interval over bootstrap samples. ``p_value`` is
    the probability of a difference from the first system as large as this by chance; where the
    signature says ``ar:exact``, all the ways to swap lines were counted.
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
    hypotheses: Sequence[str], references: Sequence[str], measure: Measure
) -> dict[str, float]:
    """Compute metrics by name for translations with one reference each."""
    found = score_systems({"hypotheses": hypotheses}, {"references": references}, measure)
    return {score.metric: score.value for score in found}


def signatures(measure: Measure) -> list[str]:
    """Return the signature of every metric by name, for translations with one reference each.

    Raises:
        DataError: What the tokenizer needs is not installed.
    """
    found = score_systems({"hypotheses": ["."]}, {"references": ["."]}, measure)
    return [f"{score.name}|{score.signature}" for score in found]


def score_systems(
    systems: Mapping[str, Sequence[str]],
    references: Mapping[str, Sequence[str]],
    measure: Measure,
    *,
    confidence: bool = False,
    paired: PairedTestName | None = None,
) -> list[Score]:
    """Score systems by name, each against all the references, in the order given.

    Args:
        systems: For every system its translations, line by line.
        references: One or more texts by name, each a right translation line by line.
        measure: What to measure.
        confidence: Whether to estimate intervals by bootstrap resampling.
        paired: How to test whether each differs from the first; ``bootstrap`` gives intervals too.

    Raises:
        DataError: A text is empty, or has not as many lines as the others; there is too little to
            resample or to compare; or what the tokenizer needs is not installed.
    """
    _check_lengths(systems, references)
    resampled = confidence or paired == "bootstrap"
    if paired and len(systems) < 2:
        raise DataError("a paired test compares systems: give two files of translations or more")
    if resampled and len(next(iter(systems.values()))) < 2:
        remedy = "test by randomization" if paired else "leave the interval away"
        raise DataError(f"a bootstrap sample takes more than one line: {remedy}")
    return [
        score
        for name, metric in _metrics(measure, references).items()
        for score in _scores(name, metric, systems, resampled=resampled, paired=paired)
    ]


@cache
def load_tokenizer(name: Tokenizer) -> Callable[[str], str]:
    """Return what puts spaces between the words of a line, as BLEU has it.

    Raises:
        DataError: What it needs is not there.
    """
    from sacrebleu.metrics.bleu import BLEU

    model, remedy = None, f"pip install 'seqtrans[{_EXTRAS.get(name)}]'"
    if name in _MODELS:
        model, url = _model_of(_called(name))
        remedy = f"download {url} as {model}"
    try:
        if model and not model.is_file():  # sacreBLEU would download it unasked
            raise FileNotFoundError(model)
        return BLEU(tokenize=_called(name)).tokenizer
    except (ImportError, RuntimeError, AssertionError, OSError) as error:
        raise DataError(f"tokenize {name} needs what is not here: {remedy}") from error


def _model_of(name: str) -> tuple[Path, str]:
    """Return path and origin of the SentencePiece model of a sacreBLEU tokenizer."""
    from sacrebleu.tokenizers.tokenizer_spm import SPM_MODELS
    from sacrebleu.utils import SACREBLEU_DIR

    url = SPM_MODELS[name]["url"]
    return Path(SACREBLEU_DIR, "models", url.rpartition("/")[2]), url


def _called(name: Tokenizer) -> str:
    """Return sacreBLEU's name of a tokenizer; of two names, the one without a warning."""
    return "flores101" if name == "spm" else name


def _metrics(
    measure: Measure, references: Mapping[str, Sequence[str]]
) -> dict[MetricName, "Metric"]:
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF
    from sacrebleu.metrics.ter import TER

    common: dict[str, Any] = {"references": [list(texts) for texts in references.values()]}
    cased: dict[str, Any] = {"lowercase": measure.lowercase, **common}
    metrics: dict[MetricName, Metric] = {}
    for name in measure.metrics:
        match name:
            case "bleu":
                load_tokenizer(measure.tokenize)
                # Forced: what looks tokenized is for ``suitability`` to say.
                metrics[name] = BLEU(tokenize=_called(measure.tokenize), force=True, **cased)
            case "chrf":
                metrics[name] = CHRF(**cased)
            case "chrf++":
                metrics[name] = CHRF(word_order=2, **cased)
            case "ter":
                metrics[name] = TER(**common)
    return metrics


def _scores(
    name: MetricName,
    metric: "Metric",
    systems: Mapping[str, Sequence[str]],
    *,
    resampled: bool,
    paired: PairedTestName | None,
) -> Iterator[Score]:
    """Compute the scores of one metric from sacreBLEU's internal counts."""
    from seqtrans.translation.evaluation.significance import certainties

    counts: list[Any] = [
        metric._extract_corpus_statistics(list(lines), None)  # pyright: ignore[reportPrivateUsage]
        for lines in systems.values()
    ]
    sums = metric._compute_score_from_stats  # pyright: ignore[reportPrivateUsage]
    every = certainties(
        counts, lambda total: sums(list(total)).score, resampled=resampled, paired=paired
    )
    for system, counted, (*numbers, settings) in zip(systems, counts, every, strict=True):
        found = metric._aggregate_and_compute(counted)  # pyright: ignore[reportPrivateUsage]
        signature = metric.get_signature()
        for key, value in settings:
            signature.update(key, value)
        yield Score(system, name, found.name, found.score, signature.format(), *numbers)


def _check_lengths(
    systems: Mapping[str, Sequence[str]], references: Mapping[str, Sequence[str]]
) -> None:
    counts = {name: len(lines) for name, lines in (*references.items(), *systems.items())}
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{name} has {count} lines" for name, count in counts.items())
        raise DataError(f"translations are compared line by line, but {said}")
    if not all(counts.values()):
        raise DataError(f"there is nothing to score: {', '.join(counts)} have no lines")
