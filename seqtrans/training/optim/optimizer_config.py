"""What a recipe may say of an optimizer; reading a recipe needs no torch for it."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Gt, Lt

from seqtrans.config.types import NonNegativeFloat, PositiveFloat, Probability


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


@dataclass(frozen=True, kw_only=True)
class MuonConfig:
    """Muon (Jordan et al., 2024) for matrices inside the model, AdamW for all else.

    Embeddings, the output layer, biases, gains and convolutions are AdamW's. Steps of both are
    equally large (arXiv:2502.16982), so ``learning_rate`` and ``weight_decay`` are those of AdamW.
    """

    kind: Literal["muon"] = "muon"
    learning_rate: PositiveFloat = 1e-3
    momentum: Probability = 0.95  # of the matrices
    betas: tuple[Probability, Probability] = (0.9, 0.98)
    epsilon: PositiveFloat = 1e-9
    weight_decay: NonNegativeFloat = 0.01


@dataclass(frozen=True, kw_only=True)
class ScheduleFreeAdamWConfig:
    """Schedule-free AdamW (arXiv:2405.15682): good at every moment, without a planned end.

    Validation, checkpoints for use and translation take an average of the weights, which stands in
    for the decay of the learning rate: ``training.schedule`` must be ``constant``, with a warm-up
    if need be. The best ``learning_rate`` is up to ten times that of AdamW with a schedule. Needs
    ``pip install 'seqtrans[schedulefree]'``; not for models with batch normalization.
    """

    kind: Literal["schedule_free_adamw"] = "schedule_free_adamw"
    learning_rate: PositiveFloat = 2.5e-3
    betas: tuple[Annotated[float, Gt(0.0), Lt(1.0)], Probability] = (0.9, 0.98)
    """How near the average the gradients are taken; and the decay of the second moments."""
    epsilon: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.01


OptimizerConfig = (
    AdamConfig | AdamWConfig | SgdConfig | AdafactorConfig | MuonConfig | ScheduleFreeAdamWConfig
)
