"""Convolutional encoder and decoder (arXiv:1705.03122)."""

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import nn

from seqtrans.config.types import Positive, Probability
from seqtrans.nn.attention.kv_cache import KeyValue
from seqtrans.nn.attention.multi_head import CrossAttention
from seqtrans.nn.conv.gated import GatedConvolution
from seqtrans.nn.dropout import Dropout
from seqtrans.nn.initialize import xavier_linear
from seqtrans.nn.module_list import Stack
from seqtrans.nn.positions import (
    LearnedPositions,
    SinusoidalPositions,
    at_last_position,
    positions_of,
)
from seqtrans.tensor_types import Bool, Float, Int, Tensor
from seqtrans.translation.models.interfaces import Memory
from seqtrans.translation.models.layered import LayeredState, project_source

_HALF = math.sqrt(0.5)
"""Factor of a sum of two parts, which keeps its variance (arXiv:1705.03122, 3.4)."""


@dataclass(frozen=True, kw_only=True)
class ConvolutionalConfig:
    """Settings of an encoder or a decoder of gated convolutions (arXiv:1705.03122).

    Args:
        num_layers: Number of layers; each reads ``kernel_width - 1`` more positions.
        model_dim: Features of a token in every layer, and of its embedding.
        kernel_width: Positions that one convolution reads.
        positions: What is added to an embedding: a ``learned`` vector per position, or a
            ``sinusoidal`` one.
        max_positions: Number of ``learned`` positions: the longest sentence training accepts.
        dropout: Probability of dropping a feature of the embeddings, of the input of each
            convolution and of the decoder's output.
    """

    num_layers: Positive = 8
    model_dim: Positive = 512
    kernel_width: Positive = 3
    positions: Literal["learned", "sinusoidal"] = "learned"
    max_positions: Positive = 1024
    dropout: Probability = 0.2

    def __post_init__(self) -> None:
        """Check that the sizes fit together."""
        if self.positions == "sinusoidal" and self.model_dim % 2:
            raise ValueError(f"sinusoidal positions need an even model_dim, not {self.model_dim}")


@dataclass(frozen=True, kw_only=True)
class ConvolutionalEncoderConfig(ConvolutionalConfig):
    """Gated convolutions that read the source; see ``ConvolutionalConfig``."""

    kind: Literal["convolutional"] = "convolutional"


@dataclass(frozen=True, kw_only=True)
class ConvolutionalDecoderConfig(ConvolutionalConfig):
    """Gated convolutions that write the target; see ``ConvolutionalConfig``.

    Args:
        num_heads: Heads of the attention to the source, which every layer has; must divide
            ``model_dim``.
    """

    kind: Literal["convolutional"] = "convolutional"
    num_heads: Positive = 1

    def __post_init__(self) -> None:
        """Check that the sizes fit together."""
        super().__post_init__()
        if self.model_dim % self.num_heads:
            raise ValueError(
                f"num_heads ({self.num_heads}) must divide model_dim ({self.model_dim})"
            )


class ConvolutionalInput(nn.Module):
    """The input of the first layer: embeddings, scaled to a variance of 1, with positions."""

    def __init__(self, config: ConvolutionalConfig) -> None:
        super().__init__()
        self.scale = math.sqrt(config.model_dim)
        self.dropout = Dropout(config.dropout)
        self.positions = (
            LearnedPositions(config.max_positions, config.model_dim)
            if config.positions == "learned"
            else SinusoidalPositions()
        )

    def forward(
        self, embedded: Float[Tensor, "B P D"], position: Int[Tensor, " #P"]
    ) -> Float[Tensor, "B P D"]:
        """Return the input of the first layer."""
        return self.dropout(self.positions(embedded * self.scale, position))


class ConvolutionalEncoder(nn.Module):
    """Layers of gated convolutions over the source; an ``Encoder``.

    The memory is the output of the top layer plus the input of the lowest (section 3.3), for keys
    and values alike.
    """

    def __init__(self, config: ConvolutionalEncoderConfig) -> None:
        super().__init__()
        self.embedding_dim = self.memory_dim = config.model_dim
        self.before = (config.kernel_width - 1) // 2
        self.input = ConvolutionalInput(config)
        self.dropout = Dropout(config.dropout)
        self.layers = Stack(
            GatedConvolution(config.model_dim, config.kernel_width, config.dropout)
            for _ in range(config.num_layers)
        )

    def forward(self, embedded: Float[Tensor, "B S D"], mask: Bool[Tensor, "B S"]) -> Memory:
        """See ``Encoder.__call__``."""
        first = x = self.input(embedded, positions_of(embedded))
        padding = ~mask[..., None]
        for layer in self.layers:
            read = self.dropout(x).masked_fill(padding, 0.0)
            x = (x + layer(read, self.before)) * _HALF
        states = (x + first) * _HALF
        return Memory(states, mask, last=at_last_position(states, mask))


class ConvolutionalDecoderLayer(nn.Module):
    """A gated convolution over previous positions, then attention to the source.

    Queries are the output of the convolution plus the embedded target token (section 3.3).

    Args:
        convolution: The convolution.
        source_attention: The attention to the source.
        dropout: Probability of dropping a feature of the convolution's input.
    """

    def __init__(
        self, convolution: GatedConvolution, source_attention: CrossAttention, dropout: float
    ) -> None:
        super().__init__()
        self.convolution = convolution
        self.source_attention = source_attention
        self.dropout = Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "B T D"], embedded: Float[Tensor, "B T D"], memory: Memory
    ) -> Float[Tensor, "B T D"]:
        """Transform every target position, which depends on those before."""
        source = self.source_attention.project(memory.states, memory.mask)
        y = self.convolution(self.dropout(x), self.convolution.kernel_width - 1)
        return self._read_source(x, y, embedded, source)

    def step(
        self,
        x: Float[Tensor, "B K D"],
        embedded: Float[Tensor, "B K D"],
        window: Float[Tensor, "B K W D"],
        source: KeyValue,
    ) -> tuple[Float[Tensor, "B K D"], Float[Tensor, "B K W D"]]:
        """Transform one new token per hypothesis (see ``GatedConvolution.step``)."""
        y, window = self.convolution.step(x, window)
        return self._read_source(x, y, embedded, source), window

    def _read_source(
        self,
        x: Float[Tensor, "B Q D"],
        y: Float[Tensor, "B Q D"],
        embedded: Float[Tensor, "B Q D"],
        source: KeyValue,
    ) -> Float[Tensor, "B Q D"]:
        context = self.source_attention((y + embedded) * _HALF, source)
        return (x + (y + context) * _HALF) * _HALF


class ConvolutionalDecoder(nn.Module):
    """Layers of gated convolutions over the target, each with attention; a ``Decoder``."""

    def __init__(self, config: ConvolutionalDecoderConfig, memory_dim: int) -> None:
        super().__init__()
        dim = self.embedding_dim = self.output_dim = config.model_dim
        self.input = ConvolutionalInput(config)
        self.layers = Stack(
            ConvolutionalDecoderLayer(
                GatedConvolution(dim, config.kernel_width, config.dropout),
                CrossAttention(dim, memory_dim, config.num_heads),
                config.dropout,
            )
            for _ in range(config.num_layers)
        )
        self.dropout = Dropout(config.dropout)
        for layer in self.layers:
            xavier_linear(layer.source_attention)

    def forward(self, embedded: Float[Tensor, "B T D"], memory: Memory) -> Float[Tensor, "B T D"]:
        """See ``Decoder.__call__``."""
        first = x = self.input(embedded, positions_of(embedded))
        for layer in self.layers:
            x = layer(x, first, memory)
        return self.dropout(x)

    def begin(self, memory: Memory, embedding: nn.Embedding) -> LayeredState:
        """See ``Decoder.begin``; the state has the last inputs of the convolutions."""
        sentences = memory.mask.size(0)
        windows = tuple(x.convolution.begin(sentences, like=memory.states) for x in self.layers)
        return LayeredState(embedding, project_source(self.layers, memory), windows)

    def step(
        self, token: Int[Tensor, "B K"], state: LayeredState
    ) -> tuple[Float[Tensor, "B K D"], LayeredState]:
        """See ``Decoder.step``."""
        position = torch.full((1,), state.position, device=token.device)
        first = x = self.input(state.embedding(token), position)
        windows: list[Tensor] = []
        for layer, window, source in zip(self.layers, state.layers, state.source, strict=True):
            x, window = layer.step(x, first, window, source)
            windows.append(window)
        return x, replace(state, layers=tuple(windows), position=state.position + 1)
