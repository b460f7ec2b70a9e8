"""How to search, as a recipe says it."""

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


@dataclass(frozen=True, kw_only=True)
class DecodingConfig:
    """What every search has: limits of its input and output, and how much is searched at once.

    Args:
        length_penalty: Exponent of the length in the score, at least 0; more favors long output.
        n_best: Different translations returned per line. There are fewer where several of those
            that the search finds are the same text, but for spaces.
        max_length: Longest output in tokens.
        max_length_factor: Tokens of output allowed for each token of source.
        max_length_offset: Tokens of output allowed besides, for short sources.
        no_repeat_ngram: Tokens of an n-gram that no translation has twice, so that none gets into
            a loop; of a long line, no part has it twice. 0: repeats are allowed.
        no_repeat_words: Words of an n-gram that no translation has twice, however its words are
            segmented. 0: repeats are allowed. Text without spaces has no words.
        no_loops: Whether a translation never says the same directly again, as in "and so and so",
            be it tokens (one alone may follow itself once) or words however they are segmented.
        max_source_tokens: Longer input is split at ends of sentences and translated in parts.
        batch_tokens: Source tokens searched at once, padding included; a matter of memory and
            speed, never of the result. ``auto``: the most that fit, measured before training, up
            to 4,096 on a CPU and 32,768 on a GPU; not with ``training.processes.sharding: full``.
    """

    length_penalty: NonNegativeFloat = 1.0
    n_best: Positive = 1
    max_length: Positive = 256
    max_length_factor: PositiveFloat = 2.0
    max_length_offset: NonNegative = 10
    no_repeat_ngram: NonNegative = 0
    no_repeat_words: NonNegative = 0
    no_loops: bool = False
    max_source_tokens: Positive = 200
    batch_tokens: Size = 4096


@dataclass(frozen=True, kw_only=True)
class BeamConfig(DecodingConfig):
    """Beam search: the translations of the highest scores, as far as a beam finds them.

    Args:
        beam_size: Hypotheses kept per sentence, at least ``n_best``; 1 is greedy search.

    Raises:
        ValueError: ``n_best`` is larger than ``beam_size``.
    """

    kind: Literal["beam"] = "beam"
    beam_size: Positive = 5

    def __post_init__(self) -> None:
        if self.n_best > self.beam_size:
            raise ValueError(
                f"n_best ({self.n_best}) must not be larger than beam_size ({self.beam_size})"
            )


@dataclass(frozen=True, kw_only=True)
class ValidationBeamConfig(BeamConfig):
    """Beam search in a validation: greedily unless said otherwise."""

    beam_size: Positive = 1


@dataclass(frozen=True, kw_only=True)
class SamplingConfig(DecodingConfig):
    """Sampling: translations drawn at random, each as often as the model finds it probable.

    The same line gets the same samples, wherever it stands and however it is translated.

    Args:
        temperature: What log-probabilities are divided by before drawing: less than 1 favors
            likely tokens, more than 1 gives all of them about the same chance.
        top_k: Likeliest tokens that are drawn from; 0: all.
        top_p: Share of probability that the likeliest tokens drawn from have together, more than 0
            (arXiv:1904.09751); 1: all.
        seed: Another one gives other samples.
    """

    kind: Literal["sampling"] = "sampling"
    temperature: PositiveFloat = 1.0
    top_k: NonNegative = 0
    top_p: Annotated[float, Gt(0.0), Le(1.0)] = 1.0
    seed: NonNegative = 1


def _by_beam(settings: dict[str, Any]) -> dict[str, Any]:
    """What a recipe says that does not say its kind, with it."""
    return {"kind": "beam", **settings}


SearchConfig = Annotated[BeamConfig | SamplingConfig, Untagged(_by_beam)]
"""How ``seqtrans translate`` searches."""
ValidationSearchConfig = Annotated[ValidationBeamConfig | SamplingConfig, Untagged(_by_beam)]
"""How a validation does."""
