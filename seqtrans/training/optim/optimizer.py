"""Optimizers and what they apply to."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, assert_never

import torch
from torch import nn
from torch.nn import Parameter
from torch.optim import SGD, Adafactor, Adam, AdamW, Optimizer

from seqtrans.config.types import NonNegativeFloat, PositiveFloat, Probability
from seqtrans.training.distributed.sharded_tensors import is_part
from seqtrans.training.optim.name_patterns import matching

FUSED_DEVICES = frozenset({"cpu", "cuda", "xpu", "mps"})


@dataclass(frozen=True, kw_only=True)
class AdamConfig:
    """Adam (arXiv:1412.6980) with the moments of the Transformer (arXiv:1706.03762, 5.3)."""

    kind: Literal["adam"] = "adam"
    learning_rate: PositiveFloat = 5e-4
    betas: tuple[Probability, Probability] = (0.9, 0.98)
    epsilon: PositiveFloat = 1e-9


@dataclass(frozen=True, kw_only=True)
class AdamWConfig:
    """Adam with decoupled weight decay (arXiv:1711.05101)."""

    kind: Literal["adamw"] = "adamw"
    learning_rate: PositiveFloat = 5e-4
    betas: tuple[Probability, Probability] = (0.9, 0.98)
    epsilon: PositiveFloat = 1e-9
    weight_decay: NonNegativeFloat = 0.01


@dataclass(frozen=True, kw_only=True)
class SgdConfig:
    """Stochastic gradient descent, with momentum where it is not 0."""

    kind: Literal["sgd"] = "sgd"
    learning_rate: PositiveFloat = 0.1
    momentum: Probability = 0.0
    nesterov: bool = False
    weight_decay: NonNegativeFloat = 0.0

    def __post_init__(self) -> None:
        """Refuse a correction of a momentum that isn't there."""
        if self.nesterov and self.momentum == 0.0:
            raise ValueError("nesterov is true but momentum is 0")


@dataclass(frozen=True, kw_only=True)
class AdafactorConfig:
    """Adafactor (arXiv:1804.04235): second moments of a matrix as two vectors.

    As in the paper, the step is relative to the size of each tensor and ``learning_rate``,
    with the schedule, caps ``1 / sqrt(step)``.
    """

    kind: Literal["adafactor"] = "adafactor"
    learning_rate: PositiveFloat = 0.01
    clip_threshold: PositiveFloat = 1.0
    weight_decay: NonNegativeFloat = 0.0


OptimizerConfig = AdamConfig | AdamWConfig | SgdConfig | AdafactorConfig


def build_optimizer(
    config: OptimizerConfig,
    model: nn.Module,
    factors: Mapping[str, float] | None = None,
    learning: Mapping[str, float] | None = None,
) -> Optimizer:
    """The optimizer a config describes. Those without a gradient are passed over at every step.

    Weight decay spares tensors of fewer than two dimensions: biases and the gains of
    normalizations have no scale that it could keep small without harm. Embeddings decay.

    Args:
        config: Which.
        model: Whose parameters it moves.
        factors: Of the learning rate, by name pattern; the last that matches a parameter counts.
        learning: By name of the parameters it moves, the epoch in which they begin to learn; None:
            all that are not frozen.

    Raises:
        TrainingError: A pattern matches no parameter.
    """
    named = dict(model.named_parameters())
    rates = _factors(named, factors or {})
    if learning is None:
        learning = {name: 0 for name, p in named.items() if p.requires_grad}
    decay = 0.0 if isinstance(config, AdamConfig) else config.weight_decay
    groups: dict[tuple[float, float, float], list[Parameter]] = {}
    for name, begin in learning.items():
        # PyTorch's fused SGD wants momentum of all parameters of a group, or of none.
        kind = decay if named[name].ndim >= 2 else 0.0, rates[name], begin
        groups.setdefault(kind, []).append(named[name])
    return _build(
        config,
        [
            {"params": members, "weight_decay": weight_decay, "factor": factor}
            for (weight_decay, factor, _), members in groups.items()
        ],
    )


def set_rates(optimizer: Optimizer, rate: float, step: int) -> None:
    """Give every group its learning rate: ``rate`` times the group's factor.

    Args:
        optimizer: One that ``build_optimizer`` made.
        rate: Of the schedule.
        step: Of the update to come, from 1. Adafactor's rate is ``1 / sqrt(step)`` where that is
            less; a factor applies to it too, as far as it makes it smaller.
    """
    if isinstance(optimizer, Adafactor):
        rate = min(rate, 1.0 / math.sqrt(step))
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]


def _factors(named: Mapping[str, Parameter], factors: Mapping[str, float]) -> dict[str, float]:
    rates = dict.fromkeys(named, 1.0)
    for pattern, factor in factors.items():
        rates.update(dict.fromkeys(matching(pattern, named, "learning_rates", "parameter"), factor))
    return rates


def _build(config: OptimizerConfig, groups: list[dict[str, Any]]) -> Optimizer:
    parameters = [p for group in groups for p in group["params"]]
    fused = _can_fuse(parameters)
    lr = config.learning_rate
    match config:
        case AdamConfig():
            return Adam(groups, lr, config.betas, config.epsilon, fused=fused)
        case AdamWConfig():
            return AdamW(groups, lr, config.betas, config.epsilon, fused=fused)
        case SgdConfig():
            fused = fused and not any(map(is_part, parameters))  # PyTorch has no fused SGD of parts
            return SGD(groups, lr, config.momentum, nesterov=config.nesterov, fused=fused)
        case AdafactorConfig():
            return Adafactor(groups, lr, d=config.clip_threshold)
        case _:
            assert_never(config)


def moments_per_weight(config: OptimizerConfig) -> int:
    """How many numbers the optimizer keeps beside each weight; for estimates of size."""
    match config:
        case AdamConfig() | AdamWConfig():
            return 2
        case SgdConfig():
            return 1 if config.momentum else 0
        case AdafactorConfig():
            return 1  # far fewer for matrices; an upper bound
        case _:
            assert_never(config)


def _can_fuse(parameters: list[Parameter]) -> bool:
    return all(p.device.type in FUSED_DEVICES and torch.is_floating_point(p) for p in parameters)
