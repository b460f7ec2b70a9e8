"""The Transformer halves of a translation model (arXiv:1706.03762)."""

import math
from dataclasses import dataclass, replace
from typing import Literal, assert_never

import torch
from torch import nn

from seqtrans.config.types import Positive, Probability
from seqtrans.nn.attention.multi_head import KeyValue, KVCache
from seqtrans.nn.dropout import Dropout
from seqtrans.nn.gather import gather_hypotheses
from seqtrans.nn.initialize import xavier_linear
from seqtrans.nn.module_list import Stack
from seqtrans.nn.positions import LearnedPositions, Rotation, SinusoidalPositions, rotation
from seqtrans.nn.transformer import (
    Activation,
    DecoderLayer,
    EncoderLayer,
    LayerSizes,
    Norm,
    NormPosition,
    build_norm,
)
from seqtrans.tensor_types import Bool, Float, Int, Tensor
from seqtrans.translation.models.interfaces import Memory


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """What an encoder and a decoder have in common; the sizes are those of the base model.

    Args:
        num_layers: Layers of this half; the other half has its own number.
        model_dim: Features of a token between blocks, and of its embedding.
        num_heads: Attention heads; must divide ``model_dim``.
        ffn_dim: Features inside the feed-forward block.
        activation: There: ``relu``, ``gelu``, ``silu``, or ``gated`` (SwiGLU, arXiv:2002.05202;
            1.5 times the weights of the others at the same ``ffn_dim``).
        norm: Layer normalization or its cheaper root-mean-square form.
        norm_position: ``pre`` normalizes the input of each block, ``post`` the sum after it.
        positions: How a token knows its place; ``rotary`` turns queries and keys of
            self-attention, the others are added to the embedding.
        max_positions: Number of ``learned`` positions: the longest sentence training accepts.
        dropout: On what each block adds to the residual stream.
        attention_dropout: On attention weights; more than 0 keeps attention from its fast path.
        ffn_dropout: Inside the feed-forward block.
        embedding_dropout: On the sum of embedding and position.
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
        """Refuse sizes that don't fit together."""
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

    def layer_sizes(self) -> LayerSizes:
        """What the layers need to know."""
        return LayerSizes(
            model_dim=self.model_dim,
            num_heads=self.num_heads,
            ffn_dim=self.ffn_dim,
            activation=self.activation,
            norm=self.norm,
            norm_position=self.norm_position,
            dropout=self.dropout,
            attention_dropout=self.attention_dropout,
            ffn_dropout=self.ffn_dropout,
        )


@dataclass(frozen=True, kw_only=True)
class TransformerEncoderConfig(TransformerConfig):
    """A Transformer that reads; see ``TransformerConfig``."""

    kind: Literal["transformer"] = "transformer"


@dataclass(frozen=True, kw_only=True)
class TransformerDecoderConfig(TransformerConfig):
    """A Transformer that writes; see ``TransformerConfig``."""

    kind: Literal["transformer"] = "transformer"


class PositionedInput(nn.Module):
    """What enters the first layer: scaled embeddings that know their place, after dropout.

    Tables hold vectors of length 1; scaled by the root of their size (3.4) they weigh as much
    as the positions added to them.
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
        """The input of the first layer and, for rotary positions, what all layers turn by."""
        x = embedded * self.scale
        if self.added is None:
            return self.dropout(x), rotation(position, self.head_dim)
        return self.dropout(self.added(x, position)), None


class TransformerEncoder(nn.Module):
    """Layers of self-attention over the source; implements ``Encoder``."""

    def __init__(self, config: TransformerEncoderConfig) -> None:
        super().__init__()
        self.embedding_dim = self.memory_dim = config.model_dim
        self.input = PositionedInput(config)
        sizes = config.layer_sizes()
        self.layers = Stack(EncoderLayer(sizes) for _ in range(config.num_layers))
        self.norm = _last_norm(config)
        xavier_linear(self)

    def forward(self, embedded: Float[Tensor, "B S D"], mask: Bool[Tensor, "B S"]) -> Memory:
        """See ``Encoder.__call__``."""
        x, turn = self.input(embedded, _positions(embedded))
        for layer in self.layers:
            x = layer(x, mask, turn)
        states = self.norm(x)
        sentence = torch.arange(mask.size(0), device=mask.device)
        return Memory(states, mask, last=states[sentence, mask.sum(1) - 1])


@dataclass(frozen=True)
class TransformerState:
    """What steps need to know of the source, once per layer, and of the tokens before.

    A kv_cache has a slot for every hypothesis of every step. Hypotheses are rows of ``ancestry``,
    True at the slots of their own history, and moving them moves nothing else.
    """

    embedding: nn.Embedding
    source: tuple[KeyValue, ...]
    kv_caches: tuple[KVCache, ...]
    ancestry: Bool[Tensor, "B K M"]
    position: int = 0  # tokens that every hypothesis has

    def reorder(self, parent: Int[Tensor, "B J"]) -> "TransformerState":
        """See ``DecoderState.reorder``."""
        ancestry = gather_hypotheses(self.ancestry, parent)
        return replace(self, ancestry=ancestry)

    def keep(self, sentence: Int[Tensor, " R"]) -> "TransformerState":
        """See ``DecoderState.keep``."""
        return replace(
            self,
            source=tuple(memory.keep(sentence) for memory in self.source),
            kv_caches=tuple(kv_cache.keep(sentence) for kv_cache in self.kv_caches),
            ancestry=self.ancestry[sentence],
        )


class TransformerDecoder(nn.Module):
    """Layers of causal self-attention and attention to the source; a ``Decoder``."""

    def __init__(self, config: TransformerDecoderConfig, memory_dim: int) -> None:
        super().__init__()
        self.embedding_dim = self.output_dim = config.model_dim
        self.input = PositionedInput(config)
        sizes = config.layer_sizes()
        self.layers = Stack(DecoderLayer(sizes, memory_dim) for _ in range(config.num_layers))
        self.norm = _last_norm(config)
        xavier_linear(self)

    def forward(self, embedded: Float[Tensor, "B T D"], memory: Memory) -> Float[Tensor, "B T D"]:
        """See ``Decoder.__call__``."""
        x, turn = self.input(embedded, _positions(embedded))
        for layer in self.layers:
            x = layer(x, memory.states, memory.mask, turn)
        return self.norm(x)

    def begin(self, memory: Memory, embedding: nn.Embedding) -> TransformerState:
        """See ``Decoder.begin``."""
        sentences = memory.mask.size(0)
        projected = (x.source_attention.project(memory.states, memory.mask) for x in self.layers)
        source = tuple(keys.contiguous() for keys in projected)
        kv_caches = tuple(
            layer.attention.begin(sentences, like=projected.key)
            for layer, projected in zip(self.layers, source, strict=True)
        )
        ancestry = memory.mask.new_empty((sentences, 1, 0))
        return TransformerState(embedding, source, kv_caches, ancestry)

    def step(
        self, token: Int[Tensor, "B K"], state: TransformerState
    ) -> tuple[Float[Tensor, "B K D"], TransformerState]:
        """See ``Decoder.step``."""
        position = torch.full((1,), state.position, device=token.device)
        x, turn = self.input(state.embedding(token), position)
        own = torch.eye(token.size(1), dtype=torch.bool, device=token.device)
        ancestry = torch.cat((state.ancestry, own.expand(token.size(0), -1, -1)), dim=2)
        kv_caches: list[KVCache] = []
        for layer, kv_cache, source in zip(self.layers, state.kv_caches, state.source, strict=True):
            x, longer = layer.step(x, kv_cache, ancestry, source, turn)
            kv_caches.append(longer)
        position = state.position + 1
        return self.norm(x), replace(
            state, kv_caches=tuple(kv_caches), ancestry=ancestry, position=position
        )


def _last_norm(config: TransformerConfig) -> nn.Module:
    """Pre-norm layers leave their sum unnormalized; post-norm layers don't."""
    if config.norm_position == "post":
        return nn.Identity()
    return build_norm(config.norm, config.model_dim)


def _positions(embedded: Float[Tensor, "B P D"]) -> Int[Tensor, " P"]:
    return torch.arange(embedded.size(1), device=embedded.device)
