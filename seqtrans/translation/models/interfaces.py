"""Interfaces of encoders and decoders: any encoder works with any decoder.

Both are built from a config. Embeddings and the output layer belong to ``EncoderDecoder``.
"""

from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

from torch import nn

from seqtrans.tensor_types import Bool, Float, Int, Tensor
from seqtrans.translation.protocols import StateT


class Memory(NamedTuple):
    """The output of an encoder.

    Attributes:
        states: The state at each source position; at padding it has no meaning.
        mask: False at padding.
        last: The state at the last real position. A bidirectional encoder concatenates the forward
            state there and the backward state at position 0.
    """

    states: Float[Tensor, "B S M"]
    mask: Bool[Tensor, "B S"]
    last: Float[Tensor, "B M"]


Features: TypeAlias = Any
"""The input of an output layer: a tensor (B, T, D) for an ``OutputLayer``, ``CopyFeatures`` for a
``CopyingOutput``. A mask (B, T) as an index selects positions."""


@runtime_checkable
class Encoder(Protocol):
    """Encodes embedded source tokens."""

    @property
    def embedding_dim(self) -> int:
        """Features of an embedded source token."""
        ...

    @property
    def memory_dim(self) -> int:
        """Features of the memory."""
        ...

    def __call__(self, embedded: Float[Tensor, "B S E"], mask: Bool[Tensor, "B S"]) -> Memory:
        """Encode sentences; real positions do not depend on padding."""
        ...


@runtime_checkable
class Decoder(Protocol[StateT]):
    """Computes features from embedded target tokens, to predict the next token."""

    @property
    def embedding_dim(self) -> int:
        """Features of an embedded target token."""
        ...

    @property
    def output_dim(self) -> int:
        """Features at each position."""
        ...

    def __call__(self, embedded: Float[Tensor, "B T E"], memory: Memory) -> Float[Tensor, "B T D"]:
        """Return features under teacher forcing: those at position t depend on tokens 0 to t.

        Padding is on the right.
        """
        ...

    def begin(self, memory: Memory, embedding: nn.Embedding) -> StateT:
        """Return the state before the first token, of one hypothesis per sentence.

        Args:
            memory: The encoded source.
            embedding: Embeds the tokens given to ``step``.
        """
        ...

    def step(
        self, token: Int[Tensor, "B K"], state: StateT
    ) -> tuple[Float[Tensor, "B K D"], StateT]:
        """Return features after one more token of each hypothesis, and the new state.

        They equal those of teacher forcing for the same prefix. ``state`` is not changed, so it
        can be continued several times.
        """
        ...
