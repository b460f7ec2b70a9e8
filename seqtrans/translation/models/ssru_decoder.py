"""Transformer decoder with a recurrent unit in place of self-attention (D19-5632)."""

from dataclasses import replace

import torch
from torch import nn

from seqtrans.nn.module_list import Stack
from seqtrans.nn.positions import positions_of
from seqtrans.nn.ssru import SSRU, SSRULayer
from seqtrans.tensor_types import Float, Int, Tensor
from seqtrans.translation.models.interfaces import Memory
from seqtrans.translation.models.layered import LayeredState, project_source
from seqtrans.translation.models.transformer import PositionedInput, TransformerDecoderConfig
from seqtrans.translation.models.transformer_blocks import Blocks


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
        x, _ = self.input(embedded, positions_of(embedded))
        for layer in self.layers:
            x = layer(x, memory.states, memory.mask)
        return self.norm(x)

    def begin(self, memory: Memory, embedding: nn.Embedding) -> LayeredState:
        """See ``Decoder.begin``; the state has the cells."""
        sentences = memory.mask.size(0)
        cells = tuple(x.recurrence.begin(sentences, like=memory.states) for x in self.layers)
        return LayeredState(embedding, project_source(self.layers, memory), cells)

    def step(
        self, token: Int[Tensor, "B K"], state: LayeredState
    ) -> tuple[Float[Tensor, "B K D"], LayeredState]:
        """See ``Decoder.step``."""
        position = torch.full((1,), state.position, device=token.device)
        x, _ = self.input(state.embedding(token), position)
        cells: list[Tensor] = []
        for layer, cell, source in zip(self.layers, state.layers, state.source, strict=True):
            x, cell = layer.step(x, cell, source)
            cells.append(cell)
        return self.norm(x), replace(state, layers=tuple(cells), position=state.position + 1)
