"""Interfaces between the models, searches and segmenters of translation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self, TypeAlias, TypeVar, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch

from seqtrans.runtime.device import copy_to
from seqtrans.tensor_types import Bool, Float, Int, Tensor

Ids: TypeAlias = Sequence[int] | npt.NDArray[np.integer]
"""Token ids of one sentence, without BOS and EOS: a list, or a row of a memory-mapped array."""


@dataclass(frozen=True)
class SourceBatch:
    """Source sentences as a model reads them, right-padded.

    Attributes:
        tokens: Token ids and EOS; padding is the source vocabulary's pad id.
        mask: True for token ids and EOS, False for padding.
        factors: Source factors: further ids of each token, such as its part of speech, each from
            another vocabulary. A model that can't read them raises ``ValueError``.
    """

    tokens: Int[Tensor, "B S"]
    mask: Bool[Tensor, "B S"]
    factors: tuple[Int[Tensor, "B S"], ...] = ()

    def __len__(self) -> int:
        """Return the number of sentences."""
        return self.tokens.size(0)

    def keep(self, sentences: slice | Int[Tensor, " R"]) -> "SourceBatch":
        """Keep only these sentences."""
        factors = tuple(factor[sentences] for factor in self.factors)
        return SourceBatch(self.tokens[sentences], self.mask[sentences], factors)

    def to(self, device: torch.device) -> "SourceBatch":
        """Copy every tensor to ``device``, without waiting for a GPU's queued work."""
        factors = tuple(copy_to(factor, device) for factor in self.factors)
        return SourceBatch(copy_to(self.tokens, device), copy_to(self.mask, device), factors)


@runtime_checkable
class DecoderState(Protocol):
    """What a model keeps between two decoding steps. Immutable; B is dim 0, K is dim 1."""

    def reorder(self, parent: Int[Tensor, "B J"]) -> Self:
        """Return J hypotheses per sentence; number j continues hypothesis ``parent[b, j]``."""
        ...

    def keep(self, sentence: Int[Tensor, " R"]) -> Self:
        """Keep only these sentences."""
        ...


StateT = TypeVar("StateT", bound=DecoderState)


@runtime_checkable
class Seq2SeqModel(Protocol[StateT]):
    """A translation model, as a search sees it."""

    def begin(self, source: SourceBatch) -> StateT:
        """Encode the source and return the state before the first token, with K = 1."""
        ...

    def decode_step(
        self, token: Int[Tensor, "B K"], state: StateT
    ) -> tuple[Float[Tensor, "B K V"], StateT]:
        """Return log-probabilities of the next token (fp32 or fp64), and the state after ``token``.

        Args:
            token: The last token of each hypothesis.
            state: The state before it.
        """
        ...


class Hypothesis(NamedTuple):
    """One translation: target ids without BOS and EOS, and its normalized score."""

    tokens: list[int]
    score: float


def _has(tokens: Sequence[int], phrase: tuple[int, ...]) -> bool:
    size = len(phrase)
    return any(tuple(tokens[i : i + size]) == phrase for i in range(len(tokens) - size + 1))


@dataclass(frozen=True)
class SearchInput:
    """A sentence to translate, and the settings of this sentence.

    Attributes:
        source: Its token ids.
        seed: Seed of its random numbers, 64 bits. It belongs to the sentence, so no sample depends
            on the batch or the process.
        prefix: Target ids that the output begins with, whatever rules forbid; with EOS at their
            end, they are all of the output.
        constraints: Phrases of target ids that the output has, in any order, if it can; they may
            overlap. Banned ids and those that the model gives no probability can't be met.
        avoid: Phrases of target ids that the output does not have, the prefix aside.

    Raises:
        ValueError: A phrase is empty.
    """

    source: Ids
    seed: int
    prefix: tuple[int, ...] = ()
    constraints: tuple[tuple[int, ...], ...] = ()
    avoid: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        if not all((*self.constraints, *self.avoid)):
            raise ValueError("a phrase to have or to avoid must have a token")

    def unmet(self, tokens: Sequence[int]) -> list[tuple[int, ...]]:
        """Return the phrases that an output lacks though it must have them."""
        return [phrase for phrase in self.constraints if not _has(tokens, phrase)]


@runtime_checkable
class Searcher(Protocol):
    """A search: translates batches with any model."""

    def __call__(
        self, model: Seq2SeqModel[StateT], source: SourceBatch, inputs: Sequence[SearchInput]
    ) -> list[list[Hypothesis]]:
        """Return the hypotheses of each sentence, best first.

        They depend on the sentence alone, not on the rest of the batch.

        Args:
            model: In evaluation mode, on the device of ``source``.
            source: The sentences as the model reads them.
            inputs: The same sentences, one by one.
        """
        ...


class Specials(NamedTuple):
    """Ids of the special tokens: padding, begin and end of a sentence, unknown."""

    pad: int
    bos: int
    eos: int
    unk: int


@runtime_checkable
class Segmenter(Protocol):
    """Converts text of one language to token ids and back. Ids never include BOS or EOS."""

    @property
    def specials(self) -> Specials:
        """Ids of the special tokens."""
        ...

    @property
    def pieces(self) -> Sequence[str]:
        """The token of every id; its length is the vocabulary size."""
        ...

    def encode(self, lines: Sequence[str]) -> list[list[int]]:
        """Return the ids of each line; deterministic."""
        ...

    def sample(self, lines: Sequence[str], seed: int) -> list[list[int]]:
        """Return the ids of each line, segmented at random if sampling is configured.

        Only for training. The same lines and seed give the same ids; without sampling they are
        those of ``encode``.
        """
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, without special tokens."""
        ...
