"""Configs of adaptations of a trained model, and where in a model they are inserted."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Literal, assert_never

from annotated_types import MinLen
from torch import nn

from seqtrans.config.types import Positive, PositiveFloat, Probability
from seqtrans.nn.adaptation import Adaptation, AdaptedLinear, Bottleneck, LowRank, UnitScale
from seqtrans.nn.kernels.linear import Linear

Patterns = Annotated[tuple[str, ...], MinLen(1)]
_OUTPUTS = ("*.output_projection", "*.ffn.output", "*.recurrence.input", "*.combination")


@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """Products of two narrow matrices, added to weights (LoRA, arXiv:2106.09685)."""

    kind: Literal["lora"] = "lora"
    rank: Positive = 8
    """Features between the two matrices."""
    alpha: PositiveFloat = 16.0
    """The product is multiplied by ``alpha / rank``."""
    dropout: Probability = 0.0
    """Probability of dropping a feature of the input of the product."""
    maps: Patterns = ("encoder.*", "decoder.*")
    """Name patterns of the linear maps that are adapted, without ``.weight``."""


@dataclass(frozen=True, kw_only=True)
class LhucConfig:
    """A learned factor for each feature that a block puts out (LHUC; Vilar 2018, N18-2080)."""

    kind: Literal["lhuc"] = "lhuc"
    maps: Patterns = _OUTPUTS
    """Name patterns of the linear maps whose outputs are multiplied, without ``.weight``; by
    default the last map of each attention and feed-forward block, and the like."""


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """A narrow network behind each block (arXiv:1902.00751)."""

    kind: Literal["adapter"] = "adapter"
    dim: Positive = 64
    """Features of its hidden layer."""
    maps: Patterns = _OUTPUTS
    """Name patterns of the linear maps that it follows, without ``.weight``; by default the last
    map of each attention and feed-forward block, and the like."""


AdaptationConfig = LoraConfig | LhucConfig | AdapterConfig


def insert_adaptations(model: nn.Module, config: AdaptationConfig) -> None:
    """Adapt the linear maps of a model that a pattern names.

    LSTM and GRU cells without layer normalization, embeddings and the output layer have no such
    map.

    Raises:
        ValueError: There is none.
    """
    # Output layers and others that use weights themselves are of other types.
    maps = {name: part for name, part in model.named_modules() if type(part) is Linear}
    chosen = [n for n in maps if any(fnmatchcase(n, pattern) for pattern in config.maps)]
    if not chosen:
        near = ", ".join(list(maps)[:3]) or "none"
        raise ValueError(
            f"model.adaptation.maps: no linear map matches {', '.join(config.maps)}; "
            f"there are {near}, ..."
        )
    for name in chosen:
        parent, _, child = name.rpartition(".")
        base = maps[name]
        adapted = AdaptedLinear(base, _build(config, base.in_features, base.out_features))
        setattr(model.get_submodule(parent), child, adapted)


def is_adaptation(name: str) -> bool:
    """Return whether a parameter of a model belongs to an adaptation, by its name."""
    return ".adaptation." in name


def _build(config: AdaptationConfig, before: int, after: int) -> Adaptation:
    match config:
        case LoraConfig():
            return LowRank(before, after, config.rank, config.alpha, config.dropout)
        case LhucConfig():
            return UnitScale(after)
        case AdapterConfig():
            return Bottleneck(after, config.dim)
        case _:
            assert_never(config)
