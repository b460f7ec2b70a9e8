"""Transformer encoder and decoder (arXiv:1706.03762)."""

import math
from dataclasses import dataclass, replace
from typing import Literal, assert_never

import torch
from torch import nn

from seqtrans.nn.attention.kv_cache import KeyValue, KVCache
from seqtrans.nn.dropout import Dropout
from seqtrans.nn.gather import gather_hypotheses
from seqtrans.nn.module_list import Stack
from seqtrans.nn.positions import (
    LearnedPositions,
    Rotation,
    SinusoidalPositions,
    at_last_position,
    positions_of,
    rotation,
)
from seqtrans.nn.transformer import DecoderLayer, EncoderLayer
from seqtrans.tensor_types import Bool, Float, Int, Tensor
from seqtrans.translation.models.interfaces import Memory
from seqtrans.translation.models.layered import project_source
from seqtrans.translation.models.transformer_blocks import Blocks, TransformerConfig


@dataclass(frozen=True, kw_only=True)
class TransformerEncoderConfig(TransformerConfig):
    """A Transformer that reads the source; see ``TransformerConfig``."""

    kind: Literal["transformer"] = "transformer"


@dataclass(frozen=True, kw_only=True)
class TransformerDecoderConfig(TransformerConfig):
    """A Transformer that writes the target; see ``TransformerConfig``."""

    kind: Literal["transformer"] = "transformer"
    autoregression: Literal["self_attention", "ssru"] = "self_attention"
    """What reads previous target tokens: self-attention, or a simpler simple recurrent unit (SSRU,
    D19-5632), whose state does not grow with the length of the translation, so search is faster;
    ``ssru`` has no ``value_residual`` and neither ``rotary`` nor ``relative`` positions, which
    belong to self-attention."""

    def __post_init__(self) -> None:
        """Check settings that depend on each other."""
        super().__post_init__()
        if self.autoregression == "self_attention":
            return
        if self.positions in ("rotary", "relative"):
            raise ValueError(
                f"positions '{self.positions}' need self-attention, not autoregression "
                f"'{self.autoregression}'; use sinusoidal or learned ones"
            )
        if self.value_residual:
            raise ValueError(
                "value_residual (true) needs self-attention, not autoregression "
                f"'{self.autoregression}'"
            )


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
        self.rotates = config.positions == "rotary"
        match config.positions:
            case "sinusoidal":
                self.added = SinusoidalPositions()
            case "learned":
                self.added = LearnedPositions(config.max_positions, config.model_dim)
            case "rotary" | "relative":
                self.added = None
            case _:
                assert_never(config.positions)

    def forward(
        self, embedded: Float[Tensor, "B P D"], position: Int[Tensor, " #P"]
    ) -> tuple[Float[Tensor, "B P D"], Rotation | None]:
        """Return the input of the first layer and, for rotary positions, the rotation."""
        x = embedded * self.scale
        if self.added is not None:
            x = self.added(x, position)
        return self.dropout(x), rotation(position, self.head_dim) if self.rotates else None


class TransformerEncoder(nn.Module):
    """Layers of self-attention over the source; an ``Encoder``."""

    def __init__(self, config: TransformerEncoderConfig) -> None:
        super().__init__()
        self.embedding_dim = self.memory_dim = config.model_dim
        self.input = PositionedInput(config)
        blocks = Blocks(config)
        self.layers = Stack(
            EncoderLayer(
                blocks.self_attention(i),
                blocks.feed_forward(),
                blocks.residual,
                blocks.layer_dropout(i),
            )
            for i in range(config.num_layers)
        )
        self.norm = blocks.last_norm()
        self.relative = blocks.relative_positions(looks_ahead=True)
        blocks.initialize(self)

    def forward(self, embedded: Float[Tensor, "B S D"], mask: Bool[Tensor, "B S"]) -> Memory:
        """See ``Encoder.__call__``."""
        position = positions_of(embedded)
        x, rotation = self.input(embedded, position)
        where = mask[:, None, None]
        if self.relative is not None:
            where = self.relative(position, position, where)
        first_value = None
        for layer in self.layers:
            x, first_value = layer(x, where, rotation, first_value)
        states = self.norm(x)
        return Memory(states, mask, last=at_last_position(states, mask))


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
    slot_position: Int[Tensor, " M"]  # of the token in each slot
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
        blocks = Blocks(config)
        self.layers = Stack(
            DecoderLayer(
                blocks.self_attention(i),
                blocks.cross_attention(memory_dim),
                blocks.feed_forward(),
                blocks.residual,
                blocks.layer_dropout(i),
            )
            for i in range(config.num_layers)
        )
        self.norm = blocks.last_norm()
        self.relative = blocks.relative_positions(looks_ahead=False)
        blocks.initialize(self)

    def forward(self, embedded: Float[Tensor, "B T D"], memory: Memory) -> Float[Tensor, "B T D"]:
        """See ``Decoder.__call__``."""
        position = positions_of(embedded)
        x, rotation = self.input(embedded, position)
        where = None  # causal
        if self.relative is not None:
            past = position <= position[:, None]
            where = self.relative(position, position, past[None, None])
        first_value = None
        for layer in self.layers:
            x, first_value = layer(x, memory.states, memory.mask, where, rotation, first_value)
        return self.norm(x)

    def begin(self, memory: Memory, embedding: nn.Embedding) -> TransformerState:
        """See ``Decoder.begin``."""
        sentences = memory.mask.size(0)
        source = project_source(self.layers, memory)
        kv_caches = tuple(
            layer.attention.begin(sentences, like=key_value.key)
            for layer, key_value in zip(self.layers, source, strict=True)
        )
        ancestry = memory.mask.new_empty((sentences, 1, 0))
        slot_position = torch.empty(0, dtype=torch.long, device=ancestry.device)
        return TransformerState(embedding, source, kv_caches, ancestry, slot_position)

    def step(
        self, token: Int[Tensor, "B K"], state: TransformerState
    ) -> tuple[Float[Tensor, "B K D"], TransformerState]:
        """See ``Decoder.step``."""
        position = torch.full((1,), state.position, device=token.device)
        x, rotation = self.input(state.embedding(token), position)
        new = torch.eye(token.size(1), dtype=torch.bool, device=token.device)
        ancestry = torch.cat((state.ancestry, new.expand(token.size(0), -1, -1)), dim=2)
        slot_position = torch.cat((state.slot_position, position.expand(token.size(1))))
        where = ancestry[:, None]
        if self.relative is not None:
            where = self.relative(position, slot_position, where)
        kv_caches: list[KVCache] = []
        first_value = None
        for layer, kv_cache, source in zip(self.layers, state.kv_caches, state.source, strict=True):
            x, longer, first_value = layer.step(x, kv_cache, where, source, rotation, first_value)
            kv_caches.append(longer)
        return self.norm(x), replace(
            state,
            kv_caches=tuple(kv_caches),
            ancestry=ancestry,
            slot_position=slot_position,
            position=state.position + 1,
        )
