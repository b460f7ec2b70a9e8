"""What decoders share that are layers with attention to the source."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from torch import nn

from seqtrans.nn.attention.kv_cache import KeyValue
from seqtrans.nn.attention.multi_head import CrossAttention
from seqtrans.nn.gather import gather_hypotheses
from seqtrans.tensor_types import Float, Int, Tensor
from seqtrans.translation.models.interfaces import Memory


@runtime_checkable
class HasSourceAttention(Protocol):
    """A layer with attention to the source."""

    @property
    def source_attention(self) -> CrossAttention:
        """The attention."""
        ...


def project_source(layers: Iterable[HasSourceAttention], memory: Memory) -> tuple[KeyValue, ...]:
    """Return keys and values of the source for each layer, for all steps of decoding."""
    projected = (x.source_attention.project(memory.states, memory.mask) for x in layers)
    return tuple(key_value.contiguous() for key_value in projected)


@dataclass(frozen=True)
class LayeredState:
    """A tensor of each layer and hypothesis whose size does not grow; a ``DecoderState``."""

    embedding: nn.Embedding
    source: tuple[KeyValue, ...]  # of each layer
    layers: tuple[Float[Tensor, "B K *D"], ...]  # of each layer
    position: int = 0  # previous tokens

    def reorder(self, parent: Int[Tensor, "B J"]) -> "LayeredState":
        """See ``DecoderState.reorder``."""
        return replace(self, layers=tuple(gather_hypotheses(x, parent) for x in self.layers))

    def keep(self, sentence: Int[Tensor, " R"]) -> "LayeredState":
        """See ``DecoderState.keep``."""
        return replace(
            self,
            source=tuple(memory.keep(sentence) for memory in self.source),
            layers=tuple(x[sentence] for x in self.layers),
        )
