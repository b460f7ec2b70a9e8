"""What the encoder and the decoder of a translation model are to each other.

Every family of models offers both halves, so any encoder can drive any decoder. A half is an
``nn.Module`` built from its own config; vocabularies, embeddings and the output layer belong to
the whole (``models/encoder_decoder.py``).
"""

from typing import NamedTuple, Protocol, runtime_checkable

from torch import nn

from seqtrans.tensor_types import Bool, Float, Int, Tensor
from seqtrans.translation.protocols import StateT


class Memory(NamedTuple):
    """The source sentence as an encoder read it; all that a decoder may see of it.

    ``last`` summarises the sentence: the state at its last real position (a bidirectional
    encoder joins its forward state there and its backward state at position 0). ``states`` at
    padded positions are arbitrary; ``mask`` is True where they are real.
    """

    states: Float[Tensor, "B S M"]
    mask: Bool[Tensor, "B S"]
    last: Float[Tensor, "B M"]

    def keep(self, sentence: Int[Tensor, " R"]) -> "Memory":
        """Drop every sentence but these."""
        return Memory(self.states[sentence], self.mask[sentence], self.last[sentence])


@runtime_checkable
class Encoder(Protocol):
    """Reads embedded source tokens."""

    @property
    def embedding_dim(self) -> int:
        """Features it expects of an embedded source token."""
        ...

    @property
    def memory_dim(self) -> int:
        """Features of the memory it returns."""
        ...

    def __call__(self, embedded: Float[Tensor, "B S E"], mask: Bool[Tensor, "B S"]) -> Memory:
        """Read whole sentences; padding changes nothing at real positions."""
        ...


@runtime_checkable
class Decoder(Protocol[StateT]):
    """Turns embedded target tokens into features from which the next token is predicted."""

    @property
    def embedding_dim(self) -> int:
        """Features it expects of an embedded target token."""
        ...

    @property
    def output_dim(self) -> int:
        """Features it returns at every position."""
        ...

    def __call__(self, embedded: Float[Tensor, "B T E"], memory: Memory) -> Float[Tensor, "B T D"]:
        """Teacher forcing: position t sees target tokens 0 to t. Padding is at the right."""
        ...

    def begin(self, memory: Memory, embedding: nn.Embedding) -> StateT:
        """The state of one hypothesis per sentence before its first token.

        Args:
            memory: The source sentences.
            embedding: Of the target tokens that ``step`` will be given.
        """
        ...

    def step(
        self, token: Int[Tensor, "B K"], state: StateT
    ) -> tuple[Float[Tensor, "B K D"], StateT]:
        """Features after one more token of every hypothesis, and the state that saw it.

        Gives what teacher forcing gives for the same prefix. ``state`` is a value: it may be
        continued any number of times, in different ways.
        """
        ...
