"""Optimizers and what they apply to."""

from dataclasses import dataclass
from typing import Literal, assert_never

import torch
from torch import nn
from torch.nn import Parameter
from torch.optim import SGD, Adafactor, Adam, AdamW, Optimizer

from seqtrans.ranges import NonNegativeFloat, PositiveFloat, Probability

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


def build_optimizer(config: OptimizerConfig, model: nn.Module) -> Optimizer:
    """The optimizer a config describes, for every parameter of ``model`` that is not frozen.

    Weight decay spares tensors of fewer than two dimensions: biases and the gains of
    normalisations have no scale that it could keep small without harm. Embeddings decay.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    decay = 0.0 if isinstance(config, AdamConfig) else config.weight_decay
    sparing = [p for p in parameters if p.ndim < 2] if decay else []  # each group costs time
    decaying = [p for p in parameters if p.ndim >= 2] if decay else parameters
    groups = [
        {"params": members, "weight_decay": group_decay}
        for members, group_decay in ((decaying, decay), (sparing, 0.0))
        if members
    ]
    fused = _can_fuse(parameters)
    lr = config.learning_rate
    match config:
        case AdamConfig():
            return Adam(groups, lr, config.betas, config.epsilon, fused=fused)
        case AdamWConfig():
            return AdamW(groups, lr, config.betas, config.epsilon, fused=fused)
        case SgdConfig():
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
