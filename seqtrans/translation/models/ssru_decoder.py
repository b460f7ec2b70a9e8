"""Transformer decoder with a recurrent unit in place of self-attention (D19-5632)."""

from dataclasses import dataclass, replace

import torch
from torch import nn

from seqtrans.nn.attention.kv_cache import KeyValue
from seqtrans.nn.gather import gather_hypotheses
from seqtrans.nn.module_list import Stack
from seqtrans.nn.ssru import SSRU, SSRULayer
from seqtrans.tensor_types import Float, Int, Tensor
from seqtrans.translation.models.interfaces import Memory
from seqtrans.translation.models.transformer import PositionedInput, TransformerDecoderConfig
from seqtrans.translation.models.transformer_blocks import Blocks


@dataclass(frozen=True)
class SSRUState:
    """A cell of each layer and hypothesis; its size does not grow with the hypotheses' length."""

    embedding: nn.Embedding
    source: tuple[KeyValue, ...]  # of each layer
    cells: tuple[Float[Tensor, "B K D"], ...]  # of each layer
    position: int = 0  # previous tokens

    def reorder(self, parent: Int[Tensor, "B J"]) -> "SSRUState":
        """See ``DecoderState.reorder``."""
        return replace(self, cells=tuple(gather_hypotheses(cell, parent) for cell in self.cells))

    def keep(self, sentence: Int[Tensor, " R"]) -> "SSRUState":
        """See ``DecoderState.keep``."""
        return replace(
            self,
            source=tuple(memory.keep(sentence) for memory in self.source),
            cells=tuple(cell[sentence] for cell in self.cells),
        )


class SSRUDecoder(nn.Module):
    """Layers of an SSRU and cross-attention to the source; a ``Decoder``.

    Training computes all positions at once; a step of decoding takes the same time and memory
    wherever in the sentence it is.
    """

    def __init__(self, config: TransformerDecoderConfig, memory_dim: int) -> None:
        super().__init__()
        self.embedding_dim = self.output_dim = config.model_dim
        self.input = PositionedInput(config)
        blocks = Blocks(config)
        self.layers = Stack(
            SSRULayer(
                SSRU(config.model_dim),
                blocks.cross_attention(memory_dim),
                blocks.feed_forward(),
                blocks.residual,
                blocks.layer_dropout(i),
            )
            for i in range(config.num_layers)
        )
        self.norm = blocks.last_norm()
        blocks.initialize(self)

    def forward(self, embedded: Float[Tensor, "B T D"], memory: Memory) -> Float[Tensor, "B T D"]:
        """See ``Decoder.__call__``."""
        position = torch.arange(embedded.size(1), device=embedded.device)
        x, _ = self.input(embedded, position)
        for layer in self.layers:
            x = layer(x, memory.states, memory.mask)
        return self.norm(x)

    def begin(self, memory: Memory, embedding: nn.Embedding) -> SSRUState:
        """See ``Decoder.begin``."""
        projected = (x.source_attention.project(memory.states, memory.mask) for x in self.layers)
        source = tuple(key_value.contiguous() for key_value in projected)
        sentences = memory.mask.size(0)
        cells = tuple(x.recurrence.begin(sentences, like=memory.states) for x in self.layers)
        return SSRUState(embedding, source, cells)

    def step(
        self, token: Int[Tensor, "B K"], state: SSRUState
    ) -> tuple[Float[Tensor, "B K D"], SSRUState]:
        """See ``Decoder.step``."""
        position = torch.full((1,), state.position, device=token.device)
        x, _ = self.input(state.embedding(token), position)
        cells: list[Tensor] = []
        for layer, cell, source in zip(self.layers, state.cells, state.source, strict=True):
            x, cell = layer.step(x, cell, source)
            cells.append(cell)
        return self.norm(x), replace(state, cells=tuple(cells), position=state.position + 1)
