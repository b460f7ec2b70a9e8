"""What a recipe may say, and reading it from its file."""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast

from annotated_types import MinLen

from seqtrans import config
from seqtrans.data.parallel import CorpusFiles, FilterConfig
from seqtrans.data.segmentation import SegmentationConfig
from seqtrans.data.subword_config import SubwordConfig
from seqtrans.decoding.beam import DecodingConfig
from seqtrans.errors import RecipeError
from seqtrans.evaluation.corpus import MetricName
from seqtrans.models.encoder_decoder import ModelConfig
from seqtrans.models.transformer import TransformerConfig
from seqtrans.ranges import Positive, Probability
from seqtrans.training.config import TrainingConfig

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The text to learn from, and how it becomes batches."""

    train: Annotated[tuple[CorpusFiles, ...], MinLen(1)]
    """Sentence pairs to learn from."""
    validation: Annotated[tuple[CorpusFiles, ...], MinLen(1)]
    """Sentence pairs to judge by while training; none is ever left out."""
    segmentation: SegmentationConfig = field(default_factory=SubwordConfig)
    """How sentences are cut into tokens."""
    filter: FilterConfig = field(default_factory=FilterConfig)
    """Which training pairs are left out."""
    batch_tokens: Positive = 4096
    """Most positions, padding included, of either side of a micro-batch."""
    cache: Path | None = None
    """Folder of encoded corpora, to be shared by runs; null: ``.seqtrans-cache`` beside the run."""


@dataclass(frozen=True, kw_only=True)
class ValidationConfig:
    """How the model is judged while training, besides loss and perplexity."""

    metrics: tuple[MetricName, ...] = ("bleu", "chrf")
    """Scores of real translations; with none, nothing is translated."""
    decoding: DecodingConfig = field(default_factory=lambda: DecodingConfig(beam_size=1))
    """How to translate the validation corpus; greedily unless said otherwise."""


@dataclass(frozen=True, kw_only=True)
class InitFrom:
    """A finished run to start from, instead of from random weights."""

    run: Path
    """Its run directory."""
    checkpoint: str = "best"
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
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    """How the model is judged while training."""
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    """How ``seqtrans translate`` searches unless told otherwise."""
    init_from: Path | InitFrom | None = None
    """A run to start from: its directory, or a mapping that says more."""

    def __post_init__(self) -> None:
        """Refuse to judge by what is not measured, and sentences without positions."""
        measured = ("loss", "perplexity", *self.validation.metrics)
        if self.training.stopping.metric not in measured:
            raise ValueError(
                f"training.stopping.metric '{self.training.stopping.metric}' is not measured: "
                f"validation gives {', '.join(measured)}"
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
    def origin(self) -> InitFrom | None:
        """``init_from``, said in full."""
        start = self.init_from
        return InitFrom(run=start) if isinstance(start, Path) else start


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> TranslationRecipe:
    """Read a recipe, make its paths absolute, and see that its files exist.

    Args:
        path: A YAML file.
        overrides: Settings such as ``training.seed=2`` that replace those of the file.

    Raises:
        RecipeError: The file can't be read, does not describe a run, or names files that are
            missing; one line for each mistake.
    """
    document = config.override(config.read(path), overrides)
    written = config.validate(TranslationRecipe, document)
    recipe = _with_absolute_paths(written, path.absolute().parent)
    problems = [
        f"{document.place(key)}: {'.'.join(map(str, key))}: there is no such file: {file}"
        for key, file in _paths(recipe, ())
        if key[-1] != "cache" and not file.exists()
    ]
    if problems:
        raise RecipeError("\n".join(problems))
    return recipe


def _paths(value: Any, key: config.PathKey) -> Iterator[tuple[config.PathKey, Path]]:
    """Every path in a tree of dataclasses, and the keys that lead to it."""
    if isinstance(value, Path):
        yield key, value
    elif dataclasses.is_dataclass(value):
        for item in dataclasses.fields(value):
            yield from _paths(getattr(value, item.name), (*key, item.name))
    elif isinstance(value, tuple):
        for i, item in enumerate(cast("tuple[Any, ...]", value)):
            yield from _paths(item, (*key, i))


def _with_absolute_paths(value: T, folder: Path) -> T:
    """The same tree of dataclasses, its relative paths taken from ``folder``."""
    changed: Any = value
    if isinstance(value, Path):
        changed = Path(os.path.abspath(folder / value.expanduser()))  # noqa: PTH100 - keeps links
    elif isinstance(value, tuple):
        changed = tuple(_with_absolute_paths(v, folder) for v in cast("tuple[Any, ...]", value))
    elif dataclasses.is_dataclass(value):
        parts = {
            f.name: _with_absolute_paths(getattr(value, f.name), folder)
            for f in dataclasses.fields(value)
            if f.init
        }
        changed = dataclasses.replace(cast("Any", value), **parts)
    return changed
