"""Configs of searches, as recipes give them."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Gt, Le

from seqtrans.config.types import (
    NonNegative,
    NonNegativeFloat,
    Positive,
    PositiveFloat,
    Size,
    Untagged,
)
from seqtrans.translation.evaluation.pairwise_scores import Utility

Stopping = Literal["exact", "first", "patience"]
"""When beam search ends; see ``BeamConfig``."""


@dataclass(frozen=True, kw_only=True)
class DecodingConfig:
    """Settings of every search.

    Args:
        length_penalty: Exponent of the length in the score, at least 0; higher values favor long
            output.
        n_best: Number of different translations of each line. There are fewer if some hypotheses
            are the same text, spaces aside.
        mbr: Minimum Bayes risk decoding: rank the ``n_best`` translations by their mean score,
            chrf or bleu, with each of them as the reference (arXiv:2108.04718), and take the first.
            It is for many translations, such as 50 samples or beam hypotheses. null: rank them by
            their probability.
        max_length: Maximum length of the output in tokens, EOS included.
        min_length: Minimum length of the output in tokens, EOS not counted, unless
            ``max_length`` and its factor allow less. 0: no minimum.
        max_length_factor: The output has at most ``max_length_factor`` times as many tokens as
            the source, plus ``max_length_offset``.
        max_length_offset: See ``max_length_factor``.
        no_repeat_ngram: No n-gram of this many tokens occurs twice in a translation (of a long
            line, in a part of it). 0: no limit.
        no_repeat_words: No n-gram of this many words occurs twice in a translation, in whatever
            way words are split into tokens. 0: no limit. Text without spaces has no words.
        no_loops: Whether to forbid direct repetition, as in "and so and so", of words or of
            tokens; a single token may follow itself once.
        shortlist: The output has only this many translations of each source token, by the run's
            lexicon, this many frequent tokens, and EOS (arXiv:1412.2007, 3.2); 100 is usual. Faster
            where the vocabulary is large and batches are small. ``seqtrans lexicon RUN``
            makes the lexicon. 0: all tokens, as in training. Not in validations of a training.
        max_source_tokens: Longer input is split at ends of sentences and translated in parts.
        batch_tokens: Source tokens searched at once, padding included; affects memory and speed,
            not the result. ``auto``: the most that fit, measured before training, at most 4,096
            on a CPU and 32,768 on a GPU; not with ``training.processes.sharding: full``.
    """

    length_penalty: NonNegativeFloat = 1.0
    n_best: Positive = 1
    mbr: Utility | None = None
    max_length: Positive = 256
    min_length: NonNegative = 0
    max_length_factor: PositiveFloat = 2.0
    max_length_offset: NonNegative = 10
    no_repeat_ngram: NonNegative = 0
    no_repeat_words: NonNegative = 0
    no_loops: bool = False
    shortlist: NonNegative = 0
    max_source_tokens: Positive = 200
    batch_tokens: Size = 4096

    def __post_init__(self) -> None:
        """Refuse to choose among one."""
        if self.mbr and self.n_best < 2:
            raise ValueError(
                f"mbr chooses among translations: n_best must be at least 2, not {self.n_best}"
            )


@dataclass(frozen=True, kw_only=True)
class BeamConfig(DecodingConfig):
    """Beam search: keeps the hypotheses with the highest scores at every step.

    Args:
        beam_size: Hypotheses kept per sentence, at least ``n_best``; 1 is greedy search.
        stopping: When the search of a sentence ends. ``exact``: when no hypothesis can still become
            better than the ``n_best`` that have ended. ``first``: when ``n_best`` hypotheses have
            ended. ``patience``: when ``beam_size * patience`` have (arXiv:2204.05424). The last two
            are faster, and count those whose end is among the ``beam_size`` best continuations.
        patience: See ``stopping``; 1 is usual, and more searches longer.
        mbr_scale: With ``mbr``, hypotheses weigh as references by ``probability ** mbr_scale``; 0:
            all alike, 1: by their probability. (Samples are alike.)

    Raises:
        ValueError: ``n_best`` is larger than ``beam_size``.
    """

    kind: Literal["beam"] = "beam"
    beam_size: Positive = 5
    stopping: Stopping = "exact"
    patience: PositiveFloat = 1.0
    mbr_scale: NonNegativeFloat = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_best > self.beam_size:
            raise ValueError(
                f"n_best ({self.n_best}) must not be larger than beam_size ({self.beam_size})"
            )


@dataclass(frozen=True, kw_only=True)
class ValidationBeamConfig(BeamConfig):
    """Beam search in a validation; greedy by default."""

    beam_size: Positive = 1


@dataclass(frozen=True, kw_only=True)
class SamplingConfig(DecodingConfig):
    """Sampling: translations drawn at random from the model's distribution.

    The samples of a line depend on its text and the seed, not on other lines or the batch.

    Args:
        temperature: Log-probabilities are divided by it before drawing: values below 1 favor
            likely tokens, values above 1 unlikely ones.
        top_k: Number of the most likely tokens to draw from; 0: all.
        top_p: Draw from the fewest tokens that together have this probability, above 0
            (arXiv:1904.09751); 1: all.
        seed: Seed of the random numbers.
    """

    kind: Literal["sampling"] = "sampling"
    temperature: PositiveFloat = 1.0
    top_k: NonNegative = 0
    top_p: Annotated[float, Gt(0.0), Le(1.0)] = 1.0
    seed: NonNegative = 1


def _by_beam(settings: dict[str, Any]) -> dict[str, Any]:
    """Add the kind to settings without one."""
    return {"kind": "beam", **settings}


SearchConfig = Annotated[BeamConfig | SamplingConfig, Untagged(_by_beam)]
"""The search of ``seqtrans translate``."""
ValidationSearchConfig = Annotated[ValidationBeamConfig | SamplingConfig, Untagged(_by_beam)]
"""The search of a validation."""
