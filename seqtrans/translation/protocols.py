"""The contracts of translation: models, searches and segmentations know each other by these."""

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
        tokens: Ids and EOS; padding holds the source vocabulary's pad id.
        mask: True for ids and EOS, False for padding.
        factors: Further ids of every token, such as its part of speech, each with a vocabulary of
            its own. A model that has no use for them refuses them.
    """

    tokens: Int[Tensor, "B S"]
    mask: Bool[Tensor, "B S"]
    factors: tuple[Int[Tensor, "B S"], ...] = ()

    def __len__(self) -> int:
        """Return the number of sentences."""
        return self.tokens.size(0)

    def keep(self, sentences: slice | Int[Tensor, " R"]) -> "SourceBatch":
        """Drop every sentence but these."""
        factors = tuple(factor[sentences] for factor in self.factors)
        return SourceBatch(self.tokens[sentences], self.mask[sentences], factors)

    def to(self, device: torch.device) -> "SourceBatch":
        """Copy every tensor to ``device``, without waiting for a GPU's queued work."""
        factors = tuple(copy_to(factor, device) for factor in self.factors)
        return SourceBatch(copy_to(self.tokens, device), copy_to(self.mask, device), factors)


@runtime_checkable
class DecoderState(Protocol):
    """All a model remembers between two decoding steps. Immutable; B is dim 0, K is dim 1."""

    def reorder(self, parent: Int[Tensor, "B J"]) -> Self:
        """J hypotheses, of which hypothesis j continues ``parent[b, j]`` of the same sentence."""
        ...

    def keep(self, sentence: Int[Tensor, " R"]) -> Self:
        """Drop every sentence but these."""
        ...


StateT = TypeVar("StateT", bound=DecoderState)


@runtime_checkable
class Seq2SeqModel(Protocol[StateT]):
    """What a searcher may ask of a translation model."""

    def begin(self, source: SourceBatch) -> StateT:
        """Encode the source; the state of one hypothesis per sentence before its first token."""
        ...

    def decode_step(
        self, token: Int[Tensor, "B K"], state: StateT
    ) -> tuple[Float[Tensor, "B K V"], StateT]:
        """Log-probabilities (fp32 or fp64) after ``token``, and the state that saw it."""
        ...


class Hypothesis(NamedTuple):
    """One translation: target ids without BOS and EOS, and its normalized score."""

    tokens: list[int]
    score: float


@dataclass(frozen=True)
class SearchInput:
    """A sentence to be translated, and what is to be known of it alone.

    Attributes:
        source: Its ids.
        seed: Decides all that is drawn at random for it, 64 bits. It goes where the sentence goes,
            so that no draw depends on the batch or the process.
    """

    source: Ids
    seed: int


@runtime_checkable
class Searcher(Protocol):
    """Turns a model into translations."""

    def __call__(
        self, model: Seq2SeqModel[StateT], source: SourceBatch, inputs: Sequence[SearchInput]
    ) -> list[list[Hypothesis]]:
        """Return hypotheses of every sentence, best first.

        What is found for a sentence depends on it alone, not on its neighbours in the batch.

        Args:
            model: In evaluation mode, where ``source`` is.
            source: The sentences as the model reads them.
            inputs: The same sentences, one by one.
        """
        ...


class Specials(NamedTuple):
    """Ids of the tokens that are not text."""

    pad: int
    bos: int
    eos: int
    unk: int


@runtime_checkable
class Segmenter(Protocol):
    """Text of one language to token ids and back. Ids never include BOS or EOS."""

    @property
    def specials(self) -> Specials:
        """Ids of padding, BOS, EOS and unknown."""
        ...

    @property
    def pieces(self) -> Sequence[str]:
        """The token of every id; its length is the vocabulary size."""
        ...

    def encode(self, lines: Sequence[str]) -> list[list[int]]:
        """Ids of every line; deterministic."""
        ...

    def sample(self, lines: Sequence[str], seed: int) -> list[list[int]]:
        """Ids of every line, segmented at random where sampling is configured (else encode).

        A pure function of ``lines`` and ``seed``. For training only.
        """
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids; special ids are left out."""
        ...
