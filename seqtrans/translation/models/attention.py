"""The attentions that a recurrent decoder may have: their options, and how each is built.

A new one is a module in ``nn/attention`` and, here, a config, a member of ``AttentionConfig``, its
name in ``AttentionKind`` and a case of ``build_attention``.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias, assert_never, get_args

from seqtrans.config.types import Positive
from seqtrans.nn.attention.coverage import CoverageAttention
from seqtrans.nn.attention.recurrent import (
    AdditiveAttention,
    Attention,
    DotAttention,
    GeneralAttention,
    MultiHeadDotAttention,
)


@dataclass(frozen=True, kw_only=True)
class DotConfig:
    """Inner products of query and memory, which must be of one size (arXiv:1508.04025)."""

    kind: Literal["dot"] = "dot"


@dataclass(frozen=True, kw_only=True)
class GeneralConfig:
    """A bilinear form of query and memory (arXiv:1508.04025)."""

    kind: Literal["general"] = "general"


@dataclass(frozen=True, kw_only=True)
class AdditiveConfig:
    """A network with one hidden layer of the size of a query (arXiv:1409.0473)."""

    kind: Literal["additive"] = "additive"


@dataclass(frozen=True, kw_only=True)
class MultiHeadConfig:
    """Scaled dot products in several subspaces (arXiv:1706.03762, 3.2.2)."""

    kind: Literal["multi_head"] = "multi_head"
    num_heads: Positive
    """Number of subspaces; must divide ``hidden_dim``."""


@dataclass(frozen=True, kw_only=True)
class CoverageConfig:
    """Additive attention that remembers what was translated (arXiv:1601.04811).

    Positions of a target are attended from one after the other, in training too.
    """

    kind: Literal["coverage"] = "coverage"
    coverage_dim: Positive = 10
    """Features of the coverage vector of a source position, which tanh updates."""


AttentionConfig: TypeAlias = (
    DotConfig | GeneralConfig | AdditiveConfig | MultiHeadConfig | CoverageConfig
)
AttentionKind: TypeAlias = Literal["dot", "general", "additive", "multi_head", "coverage"]
"""What recipes may write instead of a mapping that has no more than the kind."""


def build_attention(config: AttentionConfig, query_dim: int, memory_dim: int) -> Attention:
    """Build an attention.

    Args:
        config: Which, and its options.
        query_dim: Features of a query: the decoder's ``hidden_dim``.
        memory_dim: Features of the encoder's memory.
    """
    match config:
        case DotConfig():
            return DotAttention(query_dim, memory_dim)
        case GeneralConfig():
            return GeneralAttention(query_dim, memory_dim)
        case AdditiveConfig():
            return AdditiveAttention(query_dim, memory_dim)
        case MultiHeadConfig():
            return MultiHeadDotAttention(query_dim, memory_dim, config.num_heads)
        case CoverageConfig():
            return CoverageAttention(query_dim, memory_dim, config.coverage_dim)
        case _:
            assert_never(config)


def in_full(attention: AttentionKind | AttentionConfig, num_heads: int | None) -> AttentionConfig:
    """Return the config that the name of a kind stands for; a config as it is.

    Args:
        attention: Either.
        num_heads: Option of the name ``multi_head``, which is older than configs.

    Raises:
        ValueError: ``num_heads`` is missing, given twice, or belongs to nothing.
    """
    if attention == "multi_head":
        if num_heads is None:
            raise ValueError("multi_head attention needs num_heads, which is missing")
        return MultiHeadConfig(num_heads=num_heads)
    if num_heads is not None:
        if isinstance(attention, MultiHeadConfig):
            raise ValueError(f"num_heads ({num_heads}) is said twice: attention has its own")
        kind = attention if isinstance(attention, str) else attention.kind
        raise ValueError(f"num_heads ({num_heads}) belongs to multi_head attention, not to {kind}")
    if isinstance(attention, str):
        return {cls.kind: cls for cls in get_args(AttentionConfig)}[attention]()
    return attention


def check_query_dim(config: AttentionConfig, query_dim: int) -> None:
    """Refuse options that a query of this size does not allow.

    Raises:
        ValueError: Heads that do not divide it.
    """
    if isinstance(config, MultiHeadConfig) and query_dim % config.num_heads:
        raise ValueError(f"num_heads ({config.num_heads}) must divide hidden_dim ({query_dim})")


def check_memory_dim(config: AttentionConfig, query_dim: int, memory_dim: int) -> None:
    """Refuse an encoder that the attention can't look at.

    Raises:
        ValueError: ``dot``, and the sizes differ.
    """
    if isinstance(config, DotConfig) and memory_dim != query_dim:
        raise ValueError(
            f"dot attention needs hidden_dim ({query_dim}) to be the size of the encoder's "
            f"memory ({memory_dim}); general attention doesn't"
        )
