"""What every output must keep to, however it is searched for."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from seqtrans.tensor_types import Float, Int, Tensor
from seqtrans.translation.protocols import Segmenter
from seqtrans.translation.search.config import DecodingConfig
from seqtrans.translation.search.repetition import SPACE, WordGuard, without_loops, without_repeats


@dataclass(frozen=True, kw_only=True)
class OutputRules:
    """Which tokens an output may have, and how many.

    Args:
        bos: Id that starts every target sentence.
        eos: Id that ends one.
        banned: Ids that are never produced (padding, BOS, unknown); not EOS.
        max_length: Longest output in tokens, EOS counted.
        max_length_factor: Tokens of output allowed for each token of source; None leaves
            ``max_length`` the only limit.
        max_length_offset: Tokens of output allowed besides.
        no_repeat_ngram: Tokens of an n-gram that no hypothesis has twice; 0 allows repeats.
        no_loops: Whether tokens of a hypothesis are never followed by the same ones again; one
            alone may follow itself once.
        word_guard: Refuses words that were said before.

    Raises:
        ValueError: EOS is banned.
    """

    bos: int
    eos: int
    banned: tuple[int, ...] = ()
    max_length: int = 256
    max_length_factor: float | None = None
    max_length_offset: int = 0
    no_repeat_ngram: int = 0
    no_loops: bool = False
    word_guard: WordGuard | None = None

    def __post_init__(self) -> None:
        if self.eos in self.banned:
            raise ValueError(f"eos ({self.eos}) must not be banned: no output could end")

    @classmethod
    def of(cls, config: DecodingConfig, target: Segmenter) -> "OutputRules":
        """Build the rules that a configuration states for output in the pieces of ``target``."""
        specials = target.specials
        return cls(
            bos=specials.bos,
            eos=specials.eos,
            banned=tuple(sorted({specials.pad, specials.bos, specials.unk} - {specials.eos})),
            max_length=config.max_length,
            max_length_factor=config.max_length_factor,
            max_length_offset=config.max_length_offset,
            no_repeat_ngram=config.no_repeat_ngram,
            no_loops=config.no_loops,
            word_guard=_word_guard(config, target),
        )

    @property
    def needs_history(self) -> bool:
        """Whether what a hypothesis has said decides on what it may say."""
        return self.no_repeat_ngram > 0 or self.no_loops or self.word_guard is not None

    def limit(self, source_length: Int[Tensor, " B"]) -> Int[Tensor, " B"]:
        """Return the longest output in tokens, EOS counted, for sources of so many tokens.

        It depends on the sentence alone, never on its neighbours in the batch.
        """
        if self.max_length_factor is None:
            return torch.full_like(source_length, self.max_length)
        limit = (source_length * self.max_length_factor).ceil().long() + self.max_length_offset
        return limit.clamp(1, self.max_length)

    def without_repeats(
        self, log_probs: Float[Tensor, "B K V"], history: Int[Tensor, "B K T"]
    ) -> Float[Tensor, "B K V"]:
        """Return log-probabilities that are ``-inf`` for what would repeat what was said.

        Args:
            log_probs: Log-probability of every next token; only read.
            history: Tokens of every hypothesis so far, without BOS.
        """
        if self.no_repeat_ngram:
            log_probs = without_repeats(log_probs, history, self.no_repeat_ngram)
        if self.no_loops:
            log_probs = without_loops(log_probs, history)
        return self.word_guard(log_probs, history) if self.word_guard else log_probs


def _word_guard(config: DecodingConfig, target: Segmenter) -> WordGuard | None:
    if not (config.no_repeat_words or config.no_loops):
        return None
    return WordGuard(_texts(target), config.no_repeat_words, loops=config.no_loops)


def _texts(target: Segmenter) -> Sequence[str]:
    """Return the text of every token, where a space is written as in sentencepiece."""
    pieces, specials = target.pieces, target.specials
    inside = (i for i, text in enumerate(pieces) if i not in specials and SPACE not in text)
    any_token = next(inside, None)
    if any_token is None or " " not in target.decode([any_token, any_token]):
        return pieces
    # Tokens are words, and what looks like a space in one is a character of the text.
    return [SPACE + text.replace(SPACE, "\0") for text in pieces]
