"""Transformer encoder and decoder (arXiv:1706.03762)."""

import math
from dataclasses import dataclass, replace
from typing import Literal, assert_never

import torch
from torch import nn

from seqtrans.config.types import Positive, Probability
from seqtrans.nn.attention.multi_head import CrossAttention, KeyValue, KVCache, SelfAttention
from seqtrans.nn.dropout import Dropout
from seqtrans.nn.gather import gather_hypotheses
from seqtrans.nn.initialize import xavier_linear
from seqtrans.nn.module_list import Stack
from seqtrans.nn.positions import LearnedPositions, Rotation, SinusoidalPositions, rotation
from seqtrans.nn.transformer import (
    Activation,
    DecoderLayer,
    EncoderLayer,
    FeedForward,
    Norm,
    NormPosition,
    Residual,
    build_norm,
)
from seqtrans.tensor_types import Bool, Float, Int, Tensor
from seqtrans.translation.models.interfaces import Memory


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """Settings of an encoder or a decoder; the default sizes are those of the base model.

    Args:
        num_layers: Number of layers; encoder and decoder may differ.
        model_dim: Features of a token between blocks, and of its embedding.
        num_heads: Attention heads; must divide ``model_dim``.
        ffn_dim: Features inside the feed-forward block.
        activation: Inside the feed-forward block: ``relu``, ``gelu``, ``silu``, or ``gated``
            (SwiGLU, arXiv:2002.05202; 1.5 times the weights at the same ``ffn_dim``).
        norm: Layer normalization, or root-mean-square normalization, which is cheaper.
        norm_position: ``pre`` normalizes the input of each block, ``post`` the sum after it.
        positions: Position encoding: ``rotary`` rotates queries and keys of self-attention; the
            others are added to the embedding.
        max_positions: Number of ``learned`` positions: the longest sentence training accepts.
        dropout: Dropout of each block's output, before it is added to the residual stream.
        attention_dropout: Dropout of attention weights; above 0, attention is slower.
        ffn_dropout: Dropout inside the feed-forward block.
        embedding_dropout: Dropout of the sum of embedding and position.
    """

    num_layers: Positive = 6
    model_dim: Positive = 512
    num_heads: Positive = 8
    ffn_dim: Positive = 2048
    activation: Activation = "relu"
    norm: Norm = "layer"
    norm_position: NormPosition = "pre"
    positions: Literal["sinusoidal", "learned", "rotary"] = "sinusoidal"
    max_positions: Positive = 1024
    dropout: Probability = 0.1
    attention_dropout: Probability = 0.0
    ffn_dropout: Probability = 0.0
    embedding_dropout: Probability = 0.1

    def __post_init__(self) -> None:
        """Check that the sizes fit together."""
        if self.model_dim % self.num_heads:
            raise ValueError(
                f"num_heads ({self.num_heads}) must divide model_dim ({self.model_dim})"
            )
        if self.positions == "rotary" and self.head_dim % 2:
            raise ValueError(
                "rotary positions need an even number of features per head, not model_dim "
                f"{self.model_dim} / num_heads {self.num_heads} = {self.head_dim}"
            )
        if self.positions == "sinusoidal" and self.model_dim % 2:
            raise ValueError(f"sinusoidal positions need an even model_dim, not {self.model_dim}")

    @property
    def head_dim(self) -> int:
        """Features of one attention head."""
        return self.model_dim // self.num_heads


@dataclass(frozen=True, kw_only=True)
class TransformerEncoderConfig(TransformerConfig):
    """A Transformer that reads the source; see ``TransformerConfig``."""

    kind: Literal["transformer"] = "transformer"


@dataclass(frozen=True, kw_only=True)
class TransformerDecoderConfig(TransformerConfig):
    """A Transformer that writes the target; see ``TransformerConfig``."""

    kind: Literal["transformer"] = "transformer"


class PositionedInput(nn.Module):
    """The input of the first layer: scaled embeddings with positions, after dropout.

    Embeddings have length 1 at first; scaled by the root of their size (3.4) they are as large as
    the positions added to them.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.scale = math.sqrt(config.model_dim)
        self.head_dim = config.head_dim
        self.dropout = Dropout(config.embedding_dropout)
        match config.positions:
            case "sinusoidal":
                self.added = SinusoidalPositions()
            case "learned":
                self.added = LearnedPositions(config.max_positions, config.model_dim)
            case "rotary":
                self.added = None
            case _:
                assert_never(config.positions)

    def forward(
        self, embedded: Float[Tensor, "B P D"], position: Int[Tensor, " #P"]
    ) -> tuple[Float[Tensor, "B P D"], Rotation | None]:
        """Return the input of the first layer and, for rotary positions, the rotation."""
        x = embedded * self.scale
        if self.added is None:
            return self.dropout(x), rotation(position, self.head_dim)
        return self.dropout(self.added(x, position)), None


@dataclass(frozen=True)
class _Blocks:
    """Builds the blocks of layers."""

    config: TransformerConfig

    def self_attention(self) -> SelfAttention:
        config = self.config
        return SelfAttention(config.model_dim, config.num_heads, config.attention_dropout)

    def cross_attention(self, memory_dim: int) -> CrossAttention:
        config = self.config
        return CrossAttention(
            config.model_dim, memory_dim, config.num_heads, config.attention_dropout
        )

    def feed_forward(self) -> FeedForward:
        config = self.config
        return FeedForward(config.model_dim, config.ffn_dim, config.activation, config.ffn_dropout)

    def residual(self) -> Residual:
        config = self.config
        return Residual(config.model_dim, config.norm, config.norm_position, config.dropout)


class TransformerEncoder(nn.Module):
    """Layers of self-attention over the source; an ``Encoder``."""

    def __init__(self, config: TransformerEncoderConfig) -> None:
        super().__init__()
        self.embedding_dim = self.memory_dim = config.model_dim
        self.input = PositionedInput(config)
        blocks = _Blocks(config)
        self.layers = Stack(
            EncoderLayer(blocks.self_attention(), blocks.feed_forward(), blocks.residual)
            for _ in range(config.num_layers)
        )
        self.norm = _last_norm(config)
        xavier_linear(self)

    def forward(self, embedded: Float[Tensor, "B S D"], mask: Bool[Tensor, "B S"]) -> Memory:
        """See ``Encoder.__call__``."""
        x, rotation = self.input(embedded, _positions(embedded))
        for layer in self.layers:
            x = layer(x, mask, rotation)
        states = self.norm(x)
        sentence = torch.arange(mask.size(0), device=mask.device)
        return Memory(states, mask, last=states[sentence, mask.sum(1) - 1])


@dataclass(frozen=True)
class TransformerState:
    """Keys and values of the source and of previous tokens.

    A KV cache has a slot for each hypothesis of each step. A row of ``ancestry`` is True at the
    slots of one hypothesis, so reordering hypotheses moves only these rows.
    """

    embedding: nn.Embedding
    source: tuple[KeyValue, ...]  # of each layer
    kv_caches: tuple[KVCache, ...]  # of each layer
    ancestry: Bool[Tensor, "B K M"]
    position: int = 0  # previous tokens

    def reorder(self, parent: Int[Tensor, "B J"]) -> "TransformerState":
        """See ``DecoderState.reorder``."""
        return replace(self, ancestry=gather_hypotheses(self.ancestry, parent))

    def keep(self, sentence: Int[Tensor, " R"]) -> "TransformerState":
        """See ``DecoderState.keep``."""
        return replace(
            self,
            source=tuple(memory.keep(sentence) for memory in self.source),
            kv_caches=tuple(kv_cache.keep(sentence) for kv_cache in self.kv_caches),
            ancestry=self.ancestry[sentence],
        )


class TransformerDecoder(nn.Module):
    """Layers of causal self-attention and cross-attention to the source; a ``Decoder``."""

    def __init__(self, config: TransformerDecoderConfig, memory_dim: int) -> None:
        super().__init__()
        self.embedding_dim = self.output_dim = config.model_dim
        self.input = PositionedInput(config)
        blocks = _Blocks(config)
        self.layers = Stack(
            DecoderLayer(
                blocks.self_attention(),
                blocks.cross_attention(memory_dim),
                blocks.feed_forward(),
                blocks.residual,
            )
            for _ in range(config.num_layers)
        )
        self.norm = _last_norm(config)
        xavier_linear(self)

    def forward(self, embedded: Float[Tensor, "B T D"], memory: Memory) -> Float[Tensor, "B T D"]:
        """See ``Decoder.__call__``."""
        x, rotation = self.input(embedded, _positions(embedded))
        for layer in self.layers:
            x = layer(x, memory.states, memory.mask, rotation)
        return self.norm(x)

    def begin(self, memory: Memory, embedding: nn.Embedding) -> TransformerState:
        """See ``Decoder.begin``."""
        sentences = memory.mask.size(0)
        projected = (x.source_attention.project(memory.states, memory.mask) for x in self.layers)
        source = tuple(key_value.contiguous() for key_value in projected)
        kv_caches = tuple(
            layer.attention.begin(sentences, like=key_value.key)
            for layer, key_value in zip(self.layers, source, strict=True)
        )
        ancestry = memory.mask.new_empty((sentences, 1, 0))
        return TransformerState(embedding, source, kv_caches, ancestry)

    def step(
        self, token: Int[Tensor, "B K"], state: TransformerState
    ) -> tuple[Float[Tensor, "B K D"], TransformerState]:
        """See ``Decoder.step``."""
        position = torch.full((1,), state.position, device=token.device)
        x, rotation = self.input(state.embedding(token), position)
        new = torch.eye(token.size(1), dtype=torch.bool, device=token.device)
        ancestry = torch.cat((state.ancestry, new.expand(token.size(0), -1, -1)), dim=2)
        kv_caches: list[KVCache] = []
        for layer, kv_cache, source in zip(self.layers, state.kv_caches, state.source, strict=True):
            x, longer = layer.step(x, kv_cache, ancestry, source, rotation)
            kv_caches.append(longer)
        return self.norm(x), replace(
            state, kv_caches=tuple(kv_caches), ancestry=ancestry, position=state.position + 1
        )


def _last_norm(config: TransformerConfig) -> nn.Module:
    """Build the norm of the output; post-norm layers end with one already."""
    if config.norm_position == "post":
        return nn.Identity()
    return build_norm(config.norm, config.model_dim)


def _positions(embedded: Float[Tensor, "B P D"]) -> Int[Tensor, " P"]:
    return torch.arange(embedded.size(1), device=embedded.device)
