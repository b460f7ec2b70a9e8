"""Scores of translated text: the only wrapper of sacreBLEU (arXiv:1804.08771), and perplexity.

Every score has the signature that makes it comparable, and equals what the command ``sacrebleu``
prints for the same files.
"""

import math
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
        metrics: Metrics, in the order of the output.
        lowercase: Ignore case in BLEU and chrF; TER always does.
        tokenize: Tokenizer of BLEU; the other metrics have their own.
    """

    metrics: tuple[MetricName, ...] = ("bleu", "chrf", "chrf++")
    lowercase: bool = False
    tokenize: Tokenizer = "13a"


class Score(NamedTuple):
    """One metric of one system.

    Attributes:
        system: Name of the system.
        metric: Metric as in recipes.
        name: Metric as in publications, such as chrF2++.
        value: From 0 to 100; TER may exceed 100, and is better the lower it is.
        signature: Settings of the computation, as sacreBLEU writes them. With ``ar:exact`` all
            ways to swap lines were counted.
        mean: Mean over bootstrap samples.
        half_width: Half the width of the 95 % interval over bootstrap samples.
        p_value: Probability of so large a difference from the first system by chance.
    """

    system: str
    metric: MetricName
    name: str
    value: float
    signature: str
    mean: float | None = None
    half_width: float | None = None
    p_value: float | None = None


def corpus_scores(
    hypotheses: Sequence[str], references: Sequence[str], measure: Measure
) -> dict[str, float]:
    """Return scores by metric, for translations with one reference each."""
    scores = score_systems({"hypotheses": hypotheses}, {"references": references}, measure)
    return {score.metric: score.value for score in scores}


def signatures(measure: Measure) -> list[str]:
    """Return the signature of every metric, for translations with one reference each.

    Raises:
        DataError: What the tokenizer needs is not installed.
    """
    scores = score_systems({"hypotheses": ["."]}, {"references": ["."]}, measure)
    return [f"{score.name}|{score.signature}" for score in scores]


def score_systems(
    systems: Mapping[str, Sequence[str]],
    references: Mapping[str, Sequence[str]],
    measure: Measure,
    *,
    confidence: bool = False,
    paired: PairedTestName | None = None,
) -> list[Score]:
    """Score each system against all references, in the given order.

    Args:
        systems: Translations, line by line, by name of the system.
        references: Reference translations, line by line, by name; one or more.
        measure: What to measure.
        confidence: Whether to estimate intervals by bootstrap resampling.
        paired: Test of each system against the first; ``bootstrap`` estimates intervals too.

    Raises:
        DataError: A text is empty, or the numbers of lines differ; there are too few lines to
            resample or systems to compare; or what the tokenizer needs is not installed.
    """
    _check_lengths(systems, references)
    resampled = confidence or paired == "bootstrap"
    if paired and len(systems) < 2:
        raise DataError("a paired test compares systems: give at least two files of translations")
    if resampled and len(next(iter(systems.values()))) < 2:
        hint = "test by randomization" if paired else "leave out the interval"
        raise DataError(f"bootstrap needs more than one line: {hint}")
    return [
        score
        for name, metric in _metrics(measure, references).items()
        for score in _scores(name, metric, systems, resampled=resampled, paired=paired)
    ]


def perplexity(loss: float) -> float:
    """Return ``exp`` of a mean negative log-likelihood in nats; infinity on overflow."""
    return math.exp(loss) if loss < 700 else math.nan if math.isnan(loss) else math.inf


@cache
def load_tokenizer(name: Tokenizer) -> Callable[[str], str]:
    """Return the tokenizer of BLEU, which puts spaces between the words of a line.

    Raises:
        DataError: What it needs is not installed.
    """
    from sacrebleu.metrics.bleu import BLEU

    model, hint = None, f"pip install 'seqtrans[{_EXTRAS.get(name)}]'"
    if name in _MODELS:
        model, url = _model_of(_sacrebleu_name(name))
        hint = f"download {url} as {model}"
    try:
        if model and not model.is_file():  # sacreBLEU would download it
            raise FileNotFoundError(model)
        return BLEU(tokenize=_sacrebleu_name(name)).tokenizer
    except (ImportError, RuntimeError, AssertionError, OSError) as error:
        raise DataError(f"tokenize {name} can't be loaded: {hint}") from error


def _model_of(name: str) -> tuple[Path, str]:
    """Return path and URL of the SentencePiece model of a sacreBLEU tokenizer."""
    from sacrebleu.tokenizers.tokenizer_spm import SPM_MODELS
    from sacrebleu.utils import SACREBLEU_DIR

    url = SPM_MODELS[name]["url"]
    return Path(SACREBLEU_DIR, "models", url.rpartition("/")[2]), url


def _sacrebleu_name(name: Tokenizer) -> str:
    """Return sacreBLEU's name of a tokenizer; ``spm`` gives a warning there."""
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
                # Forced: ``suitability`` warns of text that looks tokenized.
                tokenizer = _sacrebleu_name(measure.tokenize)
                metrics[name] = BLEU(tokenize=tokenizer, force=True, **cased)
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
    """Yield the scores of one metric, from sacreBLEU's counts of each line."""
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
        result = metric._aggregate_and_compute(counted)  # pyright: ignore[reportPrivateUsage]
        signature = metric.get_signature()
        for key, value in settings:
            signature.update(key, value)
        yield Score(system, name, result.name, result.score, signature.format(), *numbers)


def _check_lengths(
    systems: Mapping[str, Sequence[str]], references: Mapping[str, Sequence[str]]
) -> None:
    counts = {name: len(lines) for name, lines in (*references.items(), *systems.items())}
    if len(set(counts.values())) > 1:
        numbers = ", ".join(f"{name} has {count} lines" for name, count in counts.items())
        raise DataError(f"translations are compared line by line, but {numbers}")
    if not all(counts.values()):
        raise DataError(f"there is nothing to score: {', '.join(counts)} have no lines")
