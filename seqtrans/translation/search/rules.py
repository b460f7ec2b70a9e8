"""Rules for the output of every search: forbidden tokens, length, repetition."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from seqtrans.tensor_types import Bool, Float, Int, Tensor
from seqtrans.translation.protocols import SearchInput, Segmenter
from seqtrans.translation.search.config import DecodingConfig
from seqtrans.translation.search.repetition import SPACE, WordGuard, without_loops, without_repeats
from seqtrans.translation.search.top_k import NEVER


@dataclass(frozen=True, kw_only=True)
class OutputRules:
    """Forbidden tokens, length limits and guards against repetition.

    Args:
        bos: Id of BOS.
        eos: Id of EOS.
        banned: Ids that are never produced (padding, BOS, unknown); not EOS.
        min_length: Minimum output length in tokens without EOS; the maximum overrules it.
        max_length: Maximum output length in tokens, EOS included.
        max_length_factor: Output tokens allowed per source token; None: ``max_length`` is the only
            limit.
        max_length_offset: Output tokens allowed in addition.
        no_repeat_ngram: No n-gram of this many tokens occurs twice in a hypothesis; 0: no limit.
        no_loops: Whether to forbid direct repetition of tokens; a single one may follow itself
            once.
        word_guard: Forbids repetition of words.

    Raises:
        ValueError: EOS is banned.
    """

    bos: int
    eos: int
    banned: tuple[int, ...] = ()
    min_length: int = 0
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
        """Build the rules of a config for the vocabulary of ``target``."""
        specials = target.specials
        return cls(
            bos=specials.bos,
            eos=specials.eos,
            banned=tuple(sorted({specials.pad, specials.bos, specials.unk} - {specials.eos})),
            min_length=config.min_length,
            max_length=config.max_length,
            max_length_factor=config.max_length_factor,
            max_length_offset=config.max_length_offset,
            no_repeat_ngram=config.no_repeat_ngram,
            no_loops=config.no_loops,
            word_guard=_word_guard(config, target),
        )

    @property
    def needs_history(self) -> bool:
        """Whether allowed tokens depend on previous tokens."""
        guards = self.no_loops or self.word_guard is not None
        return guards or self.no_repeat_ngram > 0 or self.min_length > 0

    def limit(self, source_length: Int[Tensor, " B"]) -> Int[Tensor, " B"]:
        """Return the maximum output length of each sentence in tokens, EOS included."""
        if self.max_length_factor is None:
            return torch.full_like(source_length, self.max_length)
        limit = (source_length * self.max_length_factor).ceil().long() + self.max_length_offset
        return limit.clamp(1, self.max_length)

    def limit_of(
        self, source_mask: Bool[Tensor, "B S"], inputs: Sequence[SearchInput]
    ) -> Int[Tensor, " B"]:
        """Return ``limit``, or more where a prefix and required phrases need more."""
        limit = self.limit(source_mask.sum(1))
        needed = [len(x.prefix) + sum(map(len, x.constraints)) + 1 for x in inputs]
        return torch.maximum(limit, torch.tensor(needed, device=limit.device))

    def without_forbidden(
        self, log_probs: Float[Tensor, "B K V"], history: Int[Tensor, "B K T"]
    ) -> Float[Tensor, "B K V"]:
        """Return log-probabilities that are ``-inf`` for repetition, and for an EOS too early.

        At maximum length, a search must end with EOS nevertheless.

        Args:
            log_probs: Log-probability of each next token; not changed.
            history: Previous tokens of each hypothesis, without BOS.
        """
        if history.size(2) < self.min_length:
            eos = torch.tensor([self.eos], device=log_probs.device)
            log_probs = log_probs.index_fill(2, eos, NEVER)
        if self.no_repeat_ngram:
            log_probs = without_repeats(log_probs, history, self.no_repeat_ngram)
        if self.no_loops:
            log_probs = without_loops(log_probs, history)
        return self.word_guard(log_probs, history) if self.word_guard else log_probs


def _word_guard(config: DecodingConfig, target: Segmenter) -> WordGuard | None:
    if not (config.no_repeat_words or config.no_loops):
        return None
    return WordGuard(token_texts(target), config.no_repeat_words, loops=config.no_loops)


def token_texts(segmenter: Segmenter) -> Sequence[str]:
    """Return the text of each token, with spaces written as in sentencepiece."""
    pieces, specials = segmenter.pieces, segmenter.specials
    inside = (i for i, text in enumerate(pieces) if i not in specials and SPACE not in text)
    any_token = next(inside, None)
    if any_token is None or " " not in segmenter.decode([any_token, any_token]):
        return pieces
    # Tokens are words; a character that looks like a space belongs to the word.
    return [SPACE + text.replace(SPACE, "\0") for text in pieces]
