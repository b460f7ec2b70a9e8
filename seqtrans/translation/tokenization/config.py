"""Configuration of subwords in recipes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Le

from seqtrans.config.types import Positive, PositiveFloat, Probability
from seqtrans.translation.tokenization.vocabulary import SPECIAL_PIECES, check_target_size

Rule = Literal["nmt_nfkc", "nmt_nfkc_cf", "nfkc", "nfkc_cf", "identity"]


@dataclass(frozen=True, kw_only=True)
class UnigramSampling:
    """Another segmentation at every sight of a sentence (arXiv:1804.10959, 3)."""

    kind: Literal["unigram"] = "unigram"
    alpha: PositiveFloat = 0.1
    """Exponent of a segmentation's probability: near 0 all are as likely, above 1 the best wins."""
    nbest_size: Annotated[int, Ge(2)] | None = None
    """Draw among this many best segmentations; among all if null."""


@dataclass(frozen=True, kw_only=True)
class BpeDropout:
    """Leave out merges at random (arXiv:1910.13267, 3)."""

    kind: Literal["bpe_dropout"] = "bpe_dropout"
    probability: Probability = 0.1
    """Share of possible merges left out, drawn anew after every merge."""


Sampling = UnigramSampling | BpeDropout


@dataclass(frozen=True, kw_only=True)
class SubwordConfig:
    """Subwords found in the training text."""

    kind: Literal["sentencepiece"] = "sentencepiece"
    model_type: Literal["unigram", "bpe"] = "unigram"
    """How pieces are found: arXiv:1804.10959 or arXiv:1508.07909."""
    vocab_size: Positive = 8000
    """Pieces, special ones included; of each language unless ``joint``."""
    target_vocab_size: Positive | None = None
    """Pieces of the target language where not ``joint``; ``vocab_size`` if null."""
    joint: bool = True
    """One vocabulary for both languages."""
    byte_fallback: bool = True
    """Spell an unknown character in bytes, so that no text is unknown; takes 256 pieces."""
    user_defined_symbols: tuple[str, ...] = ()
    """Strings that are always one piece."""
    character_coverage: Annotated[float, Ge(0.98), Le(1.0)] = 0.9995
    """Share of the text whose characters become pieces; the rarest do not."""
    normalization: Rule | None = None
    """Unicode normalization of text, of both languages; ``_cf`` folds case, ``identity`` changes
    nothing that is seen. If null, ``nmt_nfkc`` for the source and ``identity`` for the target:
    what normalization takes from the target, no translation has. Spaces in a row, or at the ends
    of a line, count as one in any case."""
    target_normalization: Rule | None = None
    """Normalization of the target language; as ``normalization`` says if null."""
    input_sentence_size: Annotated[int, Ge(101)] = 100_000
    """Most lines, drawn at random, that pieces are found in: about 1.5 kB of memory each."""
    sampling: Sampling | None = None
    """Draw segmentations of the training text at random; always the best one if null."""

    @property
    def source_rule(self) -> Rule:
        """Return how source text is normalized."""
        return self.normalization or "nmt_nfkc"

    @property
    def target_rule(self) -> Rule:
        """Return how target text is normalized."""
        return self.target_normalization or self.normalization or "identity"

    @property
    def has_one_rule(self) -> bool:
        """Return whether text of both languages is normalized by the same rule."""
        return self.source_rule == self.target_rule

    def __post_init__(self) -> None:
        wanted = "unigram" if self.model_type == "unigram" else "bpe_dropout"
        if self.sampling is not None and self.sampling.kind != wanted:
            raise ValueError(
                f"model_type {self.model_type} can't be sampled by {self.sampling.kind}; "
                f"choose {wanted}"
            )
        check_target_size(self.target_vocab_size, joint=self.joint)
        _check_symbols(self.user_defined_symbols)


@dataclass(frozen=True, kw_only=True)
class ExistingSubwordConfig:
    """Subwords of sentencepiece models that exist; special tokens they lack come after theirs."""

    kind: Literal["sentencepiece_model"] = "sentencepiece_model"
    model: Path
    """Model file of both languages, or of the source language."""
    target_model: Path | None = None
    """Model file of the target language; ``model`` if null."""
    sampling: Sampling | None = None
    """Draw segmentations of the training text at random; always the best one if null."""

    @property
    def joint(self) -> bool:
        """Return whether both languages share a vocabulary."""
        return self.target_model is None


def _check_symbols(symbols: Sequence[str]) -> None:
    seen: set[str] = set()
    for symbol in symbols:
        if not symbol or len(symbol.split()) != 1 or symbol != symbol.strip():
            raise ValueError(f"user_defined_symbols: {symbol!r} is empty or holds a space")
        if symbol in SPECIAL_PIECES:
            raise ValueError(f"user_defined_symbols: {symbol!r} is a special token already")
        if symbol in seen:
            raise ValueError(f"user_defined_symbols: {symbol!r} is given twice")
        seen.add(symbol)
