"""What a recipe of a translation run may say."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import MinLen

from seqtrans.config.types import Positive, Probability, Size
from seqtrans.training.config import TrainingConfig
from seqtrans.translation.data.length_filter import FilterConfig
from seqtrans.translation.data.parallel_corpus import CorpusFormat
from seqtrans.translation.evaluation.metrics import METRICS, Measure, MetricName, Tokenizer
from seqtrans.translation.models.encoder_decoder import ModelConfig
from seqtrans.translation.models.objective import (
    ConsistencyConfig,
    Objective,
    WordDropoutConfig,
)
from seqtrans.translation.models.transformer import TransformerConfig
from seqtrans.translation.search.config import (
    BeamConfig,
    SearchConfig,
    ValidationBeamConfig,
    ValidationSearchConfig,
)
from seqtrans.translation.tokenization.config import SubwordConfig
from seqtrans.translation.tokenization.segmenters import SegmentationConfig


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The text to learn from, and how it becomes batches."""

    train: Annotated[tuple[CorpusFormat, ...], MinLen(1)]
    """Sentence pairs to learn from."""
    validation: Annotated[tuple[CorpusFormat, ...], MinLen(1)]
    """Sentence pairs to judge by while training; none is ever left out."""
    segmentation: SegmentationConfig = field(default_factory=SubwordConfig)
    """How sentences are cut into tokens."""
    filter: FilterConfig = field(default_factory=FilterConfig)
    """Which training pairs are left out."""
    batch_tokens: Size = 4096
    """Most positions, padding included, of either side of a micro-batch. ``auto``: the most that
    fit, measured before training, up to 4,096 on a CPU and 32,768 on a GPU, and up to a hundredth
    of an epoch; not with ``training.processes.sharding: full``."""
    cache: Path | None = None
    """Folder of encoded corpora, to be shared by runs; null: ``.seqtrans-cache`` beside the run."""


@dataclass(frozen=True, kw_only=True)
class ValidationConfig:
    """How the model is judged while training, besides loss and perplexity."""

    metrics: tuple[MetricName, ...] = ("bleu", "chrf")
    """Scores of real translations; with none, nothing is translated."""
    tokenize: Tokenizer = "13a"
    """How BLEU cuts text into words: zh, ja-mecab, ko-mecab, char, flores101 or flores200 (spm is
    flores101) where the target has no spaces; none where it is tokenized. As in ``evaluate``."""
    lowercase: bool = False
    """Ignore case in BLEU and chrF; TER always does."""
    decoding: ValidationSearchConfig = field(default_factory=ValidationBeamConfig)
    """How to translate the validation corpus; greedily unless said otherwise. The scores are those
    that ``translate --settings validation`` and ``evaluate`` give for each of its files."""

    @property
    def measure(self) -> Measure:
        """What to measure, and how."""
        return Measure(metrics=self.metrics, lowercase=self.lowercase, tokenize=self.tokenize)


@dataclass(frozen=True, kw_only=True)
class InitFrom:
    """A finished run to start from, instead of from random weights."""

    run: Path
    """Its run directory."""
    checkpoint: Positive | str = "best"
    """Which of its checkpoints: best, last, averaged, or a step."""
    vocabulary: Literal["keep", "new"] = "keep"
    """Use its vocabulary, or make a new one and carry over the vectors of shared pieces."""


@dataclass(frozen=True, kw_only=True)
class TranslationRecipe:
    """Everything about one translation run. Paths are relative to the recipe's file."""

    task: Literal["translation"] = "translation"
    data: DataConfig
    model: ModelConfig
    training: TrainingConfig
    label_smoothing: Probability = 0.1
    """Share of the target distribution spread over all tokens (arXiv:1512.00567, 7)."""
    word_dropout: WordDropoutConfig = field(default_factory=WordDropoutConfig)
    """Shares of tokens whose vectors become zero while training."""
    consistency: ConsistencyConfig | None = None
    """How two passes over each batch shall agree, which helps where text is little and takes twice
    the time; null: there is one pass."""
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    """How the model is judged while training."""
    decoding: SearchConfig = field(default_factory=BeamConfig)
    """How ``seqtrans translate`` searches unless told otherwise."""
    init_from: Path | InitFrom | None = None
    """A run to start from: its directory, or a mapping that says more."""

    def __post_init__(self) -> None:
        """Refuse to judge by what is not measured, sentences without positions, unknown sizes."""
        self.training.refuse_unmeasured(
            {
                "data.batch_tokens": self.data.batch_tokens,
                "validation.decoding.batch_tokens": self.validation.decoding.batch_tokens,
                "decoding.batch_tokens": self.decoding.batch_tokens,
            }
        )
        measured = ("loss", "perplexity", *self.validation.metrics)
        if (metric := self.training.stopping.metric) not in measured:
            remedy = "; add it to validation.metrics" if metric in METRICS else ""
            raise ValueError(
                f"training.stopping.metric '{metric}' is not measured: "
                f"validation gives {', '.join(measured)}{remedy}"
            )
        needed = self.data.filter.max_tokens + 1
        for name, half in (("encoder", self.model.encoder), ("decoder", self.model.decoder)):
            if not isinstance(half, TransformerConfig) or half.positions != "learned":
                continue
            if half.max_positions < needed:
                raise ValueError(
                    f"data.filter.max_tokens {needed - 1} and EOS need {needed} positions: "
                    f"model.{name}.max_positions is {half.max_positions}"
                )

    @property
    def objective(self) -> Objective:
        """What to minimize."""
        return Objective(
            label_smoothing=self.label_smoothing,
            word_dropout=self.word_dropout,
            consistency=self.consistency,
        )

    @property
    def origin(self) -> InitFrom | None:
        """``init_from``, said in full."""
        start = self.init_from
        return InitFrom(run=start) if isinstance(start, Path) else start
