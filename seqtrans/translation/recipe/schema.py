"""Keys of a translation recipe."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import MinLen

from seqtrans.config.types import NonNegative, Positive, Probability, Size
from seqtrans.training.config import Expected, TrainingConfig
from seqtrans.translation.data.length_filter import FilterConfig
from seqtrans.translation.data.parallel_corpus import CorpusFormat
from seqtrans.translation.evaluation.metrics import METRICS, Measure, MetricName, Tokenizer
from seqtrans.translation.models.convolutional import ConvolutionalConfig
from seqtrans.translation.models.encoder_decoder import ModelConfig
from seqtrans.translation.models.objective import (
    ConsistencyConfig,
    Objective,
    WordDropoutConfig,
)
from seqtrans.translation.models.transformer_blocks import TransformerConfig
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
    """The text for training, and how batches are made of it."""

    train: Annotated[tuple[CorpusFormat, ...], MinLen(1)]
    """Sentence pairs for training."""
    validation: Annotated[tuple[CorpusFormat, ...], MinLen(1)]
    """Sentence pairs for validation during training; the filter does not apply to them."""
    test: tuple[CorpusFormat, ...] = ()
    """Sentence pairs that ``seqtrans reproduce`` scores; if empty, those of ``validation``."""
    segmentation: SegmentationConfig = field(default_factory=SubwordConfig)
    """How sentences are split into tokens."""
    filter: FilterConfig = field(default_factory=FilterConfig)
    """Which training pairs are left out."""
    both_directions_epochs: NonNegative = 0
    """How many epochs, from the first, hold every pair a second time with source and target
    exchanged (arXiv:2206.02368, 3.1): with little text the model learns more of both languages.
    They have twice the updates, and the rest of the training, some two thirds of the updates, has
    one direction. Needs one vocabulary for both languages."""
    batch_tokens: Size = 4096
    """Maximum positions of either side of a micro-batch, padding included. ``auto``: the most that
    fit, measured before training, at most 4,096 on a CPU, 32,768 on a GPU and a hundredth of an
    epoch; not with ``training.processes.sharding: full``."""
    cache: Path | None = None
    """Folder of encoded corpora, which runs may share; null: ``.seqtrans-cache`` beside the run."""

    def cache_for(self, run: Path) -> Path:
        """Return the folder of encoded corpora, for a run directory."""
        return self.cache or run.parent / ".seqtrans-cache"


@dataclass(frozen=True, kw_only=True)
class ValidationConfig:
    """How to validate during training, besides loss and perplexity."""

    metrics: tuple[MetricName, ...] = ("bleu", "chrf")
    """Metrics of translations; if empty, nothing is translated."""
    tokenize: Tokenizer = "13a"
    """How BLEU splits text into words: zh, ja-mecab, ko-mecab, char, flores101 or flores200 (spm is
    flores101) for a target without spaces; none for a tokenized target. As in ``evaluate``."""
    lowercase: bool = False
    """Ignore case in BLEU and chrF; TER always does."""
    decoding: ValidationSearchConfig = field(default_factory=ValidationBeamConfig)
    """How to translate the validation corpus; greedy by default. Metrics are equal to those of
    ``translate --settings validation`` and ``evaluate``."""

    @property
    def measure(self) -> Measure:
        """The metrics and their settings."""
        return Measure(metrics=self.metrics, lowercase=self.lowercase, tokenize=self.tokenize)


@dataclass(frozen=True, kw_only=True)
class ExpectedScore(Expected):
    """What the recipe gave where it was measured; ``seqtrans reproduce`` compares with it."""

    metric: Literal["bleu", "chrf", "chrf++"] = "bleu"
    """Metric of ``score``, with the settings of ``validation``, of translations by ``decoding``."""


@dataclass(frozen=True, kw_only=True)
class InitFrom:
    """A run whose weights are the initial weights of this one."""

    run: Path
    """Its run directory."""
    checkpoint: Positive | str = "best"
    """Its checkpoint: best, last, averaged, or a step."""
    vocabulary: Literal["keep", "new"] = "keep"
    """Use its vocabulary, or train a new one and copy the embeddings of shared tokens."""


@dataclass(frozen=True, kw_only=True)
class PretrainedEmbeddings:
    """Files of vectors that embeddings start from.

    Text (``.vec``, as of word2vec and fastText; also compressed) has a word and its numbers in each
    line. ``.npy`` has a row for each token, in the order of the vocabulary.
    """

    source: Path | None = None
    """Vectors of source tokens."""
    target: Path | None = None
    """Vectors of target tokens."""


@dataclass(frozen=True, kw_only=True)
class TranslationRecipe:
    """All settings of a translation run. Paths are relative to the recipe's file."""

    task: Literal["translation"] = "translation"
    data: DataConfig
    """The text, its segmentation and the size of batches."""
    model: ModelConfig
    """Encoder and decoder."""
    training: TrainingConfig
    """Optimizer, schedule, length of the training and the like."""
    label_smoothing: Probability = 0.1
    """Probability mass of the target that is spread over all tokens (arXiv:1512.00567, 7)."""
    word_dropout: WordDropoutConfig = field(default_factory=WordDropoutConfig)
    """Proportions of tokens whose embeddings are set to zero during training."""
    consistency: ConsistencyConfig | None = None
    """A second pass over each batch, whose predictions must agree with the first; it helps with
    little text and takes twice the time. null: one pass."""
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    """How to validate during training."""
    decoding: SearchConfig = field(default_factory=BeamConfig)
    """How ``seqtrans translate`` searches by default."""
    init_from: Path | InitFrom | None = None
    """A run that provides the initial weights: its directory, or a mapping with options."""
    pretrained_embeddings: PretrainedEmbeddings | None = None
    """Files of vectors from which embeddings start, scaled to a mean length of 1; not with
    ``init_from``. ``training.freeze: [source_embedding.weight]`` keeps them as they are."""
    expected: ExpectedScore | None = None
    """What the recipe gave where it was measured; training ignores it."""

    def __post_init__(self) -> None:
        """Check ``auto`` sizes, the stopping metric and the number of learned positions."""
        self.training.refuse_unmeasured(
            {
                "data.batch_tokens": self.data.batch_tokens,
                "validation.decoding.batch_tokens": self.validation.decoding.batch_tokens,
                "decoding.batch_tokens": self.decoding.batch_tokens,
            }
        )
        if self.validation.decoding.shortlist:
            raise ValueError(
                "validation.decoding.shortlist must be 0: the lexicon belongs to a trained run; "
                "set decoding.shortlist"
            )
        self._check_embeddings()
        measured = ("loss", "perplexity", *self.validation.metrics)
        if (metric := self.training.stopping.metric) not in measured:
            hint = "; add it to validation.metrics" if metric in METRICS else ""
            raise ValueError(
                f"training.stopping.metric '{metric}' is not measured: "
                f"validation gives {', '.join(measured)}{hint}"
            )
        needed = self.data.filter.max_tokens + 1
        for name, config in (("encoder", self.model.encoder), ("decoder", self.model.decoder)):
            if not isinstance(config, TransformerConfig | ConvolutionalConfig):
                continue
            if config.positions == "learned" and config.max_positions < needed:
                raise ValueError(
                    f"data.filter.max_tokens {needed - 1} and EOS need {needed} positions: "
                    f"model.{name}.max_positions is {config.max_positions}"
                )

    def _check_embeddings(self) -> None:
        """Check that tables of embeddings start from one place each."""
        start = self.pretrained_embeddings
        if start is None:
            return
        if self.init_from:
            raise ValueError(
                "pretrained_embeddings and init_from both set embeddings: leave one out"
            )
        if start.source and start.target and self.model.tie_embeddings in ("source_target", "all"):
            raise ValueError(
                f"tie_embeddings '{self.model.tie_embeddings}' makes one table of source and "
                "target: pretrained_embeddings takes one file, for either"
            )

    @property
    def objective(self) -> Objective:
        """The loss to minimize."""
        return Objective(
            label_smoothing=self.label_smoothing,
            word_dropout=self.word_dropout,
            consistency=self.consistency,
        )

    @property
    def origin(self) -> InitFrom | None:
        """``init_from`` with its options."""
        start = self.init_from
        return InitFrom(run=start) if isinstance(start, Path) else start
