"""Configs of the attentions of recurrent decoders, and how each is built."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, assert_never, get_args

from seqtrans.config.types import Positive, PositiveFloat
from seqtrans.nn.attention.coverage import (
    CountCoverageAttention,
    CoverageAttention,
    CoverageUpdate,
)
from seqtrans.nn.attention.recurrent import (
    AdditiveAttention,
    Attention,
    DotAttention,
    GeneralAttention,
    MultiHeadDotAttention,
)
from seqtrans.nn.attention.unscored import LastStateAttention, LocationAttention


@dataclass(frozen=True, kw_only=True)
class DotConfig:
    """Inner products of query and memory, which must have equal sizes (arXiv:1508.04025)."""

    kind: Literal["dot"] = "dot"


@dataclass(frozen=True, kw_only=True)
class GeneralConfig:
    """A bilinear form of query and memory (arXiv:1508.04025)."""

    kind: Literal["general"] = "general"


@dataclass(frozen=True, kw_only=True)
class AdditiveConfig:
    """A network with one hidden layer, which has the size of a query (arXiv:1409.0473)."""

    kind: Literal["additive"] = "additive"


@dataclass(frozen=True, kw_only=True)
class MultiHeadConfig:
    """Scaled dot products in several subspaces (arXiv:1706.03762, 3.2.2)."""

    kind: Literal["multi_head"] = "multi_head"
    num_heads: Positive
    """Number of subspaces; must divide ``hidden_dim``."""


@dataclass(frozen=True, kw_only=True)
class CoverageConfig:
    """Additive attention with a coverage vector of each source position (arXiv:1601.04811).

    Training computes it for one target position after another.
    """

    kind: Literal["coverage"] = "coverage"
    coverage_dim: Positive = 10
    """Features of a coverage vector."""
    update: CoverageUpdate = "tanh"
    """What computes a coverage vector from the previous one, the position's weight and state, and
    the query: a layer with an activation, or a gated recurrent unit (``gru``)."""


@dataclass(frozen=True, kw_only=True)
class CountCoverageConfig:
    """Additive attention with the sum of each source position's weights so far.

    It is ``coverage`` with a number in place of a vector; nothing computes it but the sum.
    """

    kind: Literal["count_coverage"] = "count_coverage"


@dataclass(frozen=True, kw_only=True)
class FertilityCoverageConfig:
    """As ``count_coverage``, with sums divided by a position's fertility (arXiv:1601.04811, 3.1.1).

    The fertility is the number of target tokens that a source token is expected to have.
    """

    kind: Literal["fertility_coverage"] = "fertility_coverage"
    max_fertility: PositiveFloat = 2.0
    """Bound of the fertility, which a sigmoid of the memory keeps between 0 and it."""


@dataclass(frozen=True, kw_only=True)
class LocationConfig:
    """Scores of source positions from the query alone (arXiv:1508.04025, 3.1)."""

    kind: Literal["location"] = "location"
    max_positions: Positive = 1024
    """Number of positions with a vector of their own; those after them score like the last."""


@dataclass(frozen=True, kw_only=True)
class FixedConfig:
    """The state of the encoder at the last position, for every query (arXiv:1409.3215)."""

    kind: Literal["fixed"] = "fixed"


AttentionConfig: TypeAlias = (
    DotConfig
    | GeneralConfig
    | AdditiveConfig
    | MultiHeadConfig
    | CoverageConfig
    | CountCoverageConfig
    | FertilityCoverageConfig
    | LocationConfig
    | FixedConfig
)
AttentionKind: TypeAlias = Literal[
    "dot",
    "general",
    "additive",
    "multi_head",
    "coverage",
    "count_coverage",
    "fertility_coverage",
    "location",
    "fixed",
]
"""Short form in recipes: the kind instead of a mapping."""
_WITHOUT_OPTIONS: Mapping[str, Callable[[int, int], Attention]] = {
    "dot": DotAttention,
    "general": GeneralAttention,
    "additive": AdditiveAttention,
    "count_coverage": CountCoverageAttention,
    "fixed": LastStateAttention,
}


def build_attention(config: AttentionConfig, query_dim: int, memory_dim: int) -> Attention:
    """Build an attention.

    Args:
        config: Its kind and options.
        query_dim: Features of a query: the decoder's ``hidden_dim``.
        memory_dim: Features of the encoder's memory.
    """
    match config:
        case (
            DotConfig() | GeneralConfig() | AdditiveConfig() | CountCoverageConfig() | FixedConfig()
        ):
            return _WITHOUT_OPTIONS[config.kind](query_dim, memory_dim)
        case MultiHeadConfig():
            return MultiHeadDotAttention(query_dim, memory_dim, config.num_heads)
        case CoverageConfig():
            return CoverageAttention(query_dim, memory_dim, config.coverage_dim, config.update)
        case FertilityCoverageConfig():
            return CountCoverageAttention(query_dim, memory_dim, config.max_fertility)
        case LocationConfig():
            return LocationAttention(query_dim, memory_dim, config.max_positions)
        case _:
            assert_never(config)


def attention_config(
    attention: AttentionKind | AttentionConfig, num_heads: int | None
) -> AttentionConfig:
    """Return the config for a kind; a config is returned unchanged.

    Args:
        attention: A kind or a config.
        num_heads: The number of heads if ``attention`` is ``"multi_head"``, else None.

    Raises:
        ValueError: ``num_heads`` is missing, given twice, or given for another attention.
    """
    if attention == "multi_head":
        if num_heads is None:
            raise ValueError("multi_head attention needs num_heads, which is missing")
        return MultiHeadConfig(num_heads=num_heads)
    if num_heads is not None:
        if isinstance(attention, MultiHeadConfig):
            raise ValueError(f"num_heads ({num_heads}) is given twice: attention has it too")
        kind = attention if isinstance(attention, str) else attention.kind
        raise ValueError(f"num_heads ({num_heads}) belongs to multi_head attention, not to {kind}")
    if isinstance(attention, str):
        return {cls.kind: cls for cls in get_args(AttentionConfig)}[attention]()
    return attention


def check_query_dim(config: AttentionConfig, query_dim: int) -> None:
    """Check the size of queries.

    Raises:
        ValueError: ``num_heads`` does not divide it.
    """
    if isinstance(config, MultiHeadConfig) and query_dim % config.num_heads:
        raise ValueError(f"num_heads ({config.num_heads}) must divide hidden_dim ({query_dim})")


def check_memory_dim(config: AttentionConfig, query_dim: int, memory_dim: int) -> None:
    """Check the sizes of queries and memory.

    Raises:
        ValueError: They differ, and the attention is ``dot``.
    """
    if isinstance(config, DotConfig) and memory_dim != query_dim:
        raise ValueError(
            f"dot attention needs hidden_dim ({query_dim}) to equal the size of the encoder's "
            f"memory ({memory_dim}); use general attention"
        )
