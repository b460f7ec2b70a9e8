"""What the encoder and the decoder of a Transformer share: settings and blocks."""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from seqtrans.config.types import Positive, Probability
from seqtrans.nn.attention.multi_head import CrossAttention, SelfAttention
from seqtrans.nn.initialize import xavier_linear
from seqtrans.nn.positions import RelativePositions
from seqtrans.nn.transformer import (
    Activation,
    FeedForward,
    Norm,
    NormPosition,
    Residual,
    build_norm,
    zero_outputs,
)


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
        zero_init_residual: Start the last map of every attention and feed-forward block at 0, so
            that a layer first passes its input on (arXiv:2003.04887, arXiv:2203.03466).
        qk_norm: Normalize queries and keys of every head by their root mean square, times a
            learned gain (arXiv:2010.04245); training is stable at higher learning rates.
        value_residual: In self-attention, add the values of the first layer to those of each later
            one, with learned factors (arXiv:2410.17897).
        positions: Position encoding: ``sinusoidal`` and ``learned`` positions are added to the
            embedding; ``rotary`` rotates queries and keys of self-attention; ``relative`` adds a
            learned bias for each distance and head to its scores (arXiv:1910.10683, 2.1), which is
            slower.
        max_positions: Number of ``learned`` positions: the longest sentence training accepts.
        dropout: Dropout of each block's output, before it is added to the residual stream.
        attention_dropout: Dropout of attention weights; above 0, attention is slower.
        ffn_dropout: Dropout inside the feed-forward block.
        layer_dropout: Probability of skipping a whole layer for a micro-batch (LayerDrop,
            arXiv:1909.11556), which also saves its time. With ``value_residual``, never the first.
        embedding_dropout: Dropout of the sum of embedding and position.
    """

    num_layers: Positive = 6
    model_dim: Positive = 512
    num_heads: Positive = 8
    ffn_dim: Positive = 2048
    activation: Activation = "relu"
    norm: Norm = "layer"
    norm_position: NormPosition = "pre"
    zero_init_residual: bool = False
    qk_norm: bool = False
    value_residual: bool = False
    positions: Literal["sinusoidal", "learned", "rotary", "relative"] = "sinusoidal"
    max_positions: Positive = 1024
    dropout: Probability = 0.1
    attention_dropout: Probability = 0.0
    ffn_dropout: Probability = 0.0
    layer_dropout: Probability = 0.0
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


@dataclass(frozen=True)
class Blocks:
    """Builds the blocks of a Transformer."""

    config: TransformerConfig

    def self_attention(self, layer: int) -> SelfAttention:
        """Build the self-attention of a layer, numbered from 0."""
        config = self.config
        return SelfAttention(
            config.model_dim,
            config.num_heads,
            config.attention_dropout,
            qk_norm=config.qk_norm,
            value_residual=config.value_residual and layer > 0,
        )

    def cross_attention(self, memory_dim: int) -> CrossAttention:
        """Build the attention of a layer to the source."""
        config = self.config
        return CrossAttention(
            config.model_dim,
            memory_dim,
            config.num_heads,
            config.attention_dropout,
            qk_norm=config.qk_norm,
        )

    def feed_forward(self) -> FeedForward:
        """Build the feed-forward block of a layer."""
        config = self.config
        return FeedForward(config.model_dim, config.ffn_dim, config.activation, config.ffn_dropout)

    def layer_dropout(self, layer: int) -> float:
        """Return the probability of skipping a layer; later ones may need values of the first."""
        config = self.config
        return 0.0 if config.value_residual and layer == 0 else config.layer_dropout

    def relative_positions(self, *, looks_ahead: bool) -> RelativePositions | None:
        """Build the bias of all self-attention; None for other positions."""
        if self.config.positions != "relative":
            return None
        return RelativePositions(self.config.num_heads, looks_ahead=looks_ahead)

    def residual(self) -> Residual:
        """Build a residual connection."""
        config = self.config
        return Residual(config.model_dim, config.norm, config.norm_position, config.dropout)

    def initialize(self, half: nn.Module) -> None:
        """Set the initial weights of an encoder or a decoder."""
        xavier_linear(half)
        if self.config.zero_init_residual:
            zero_outputs(half)

    def last_norm(self) -> nn.Module:
        """Build the norm of the output; post-norm layers end with one already."""
        config = self.config
        if config.norm_position == "post":
            return nn.Identity()
        return build_norm(config.norm, config.model_dim)
