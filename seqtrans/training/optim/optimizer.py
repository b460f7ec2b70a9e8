"""Optimizers, what they apply to, their steps, and the gradients they use."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, assert_never

import torch
from torch import nn
from torch.nn import Parameter
from torch.optim import SGD, Adafactor, Adam, AdamW, Optimizer

from seqtrans.tensor_types import Float, Tensor
from seqtrans.training.distributed.sharded_tensors import in_parts, is_part, own_part
from seqtrans.training.optim.muon import Muon, hidden_matrices
from seqtrans.training.optim.name_patterns import matching
from seqtrans.training.optim.optimizer_config import (
    AdafactorConfig,
    AdamConfig,
    AdamWConfig,
    MuonConfig,
    OptimizerConfig,
    ScheduleFreeAdamWConfig,
    SgdConfig,
)
from seqtrans.training.optim.schedule_free import schedule_free_adamw

FUSED_DEVICES = frozenset({"cpu", "cuda", "xpu", "mps"})


def build_optimizer(
    config: OptimizerConfig,
    model: nn.Module,
    factors: Mapping[str, float] | None = None,
    learning: Mapping[str, float] | None = None,
    *,
    bf16: bool = False,
) -> Optimizer:
    """Build an optimizer; it skips parameters without a gradient.

    Weight decay spares tensors of fewer than two dimensions: biases and the gains of
    normalizations have no scale that it could keep small without harm. Embeddings decay.

    Args:
        config: Which.
        model: Whose parameters it moves.
        factors: Of the learning rate, by name pattern; the last that matches a parameter counts.
        learning: By name of the parameters it moves, the epoch in which they begin to learn; None:
            all that are not frozen.
        bf16: Whether the model multiplies in bf16; then Muon does, too.

    Raises:
        TrainingError: A pattern matches no parameter.
    """
    named = dict(model.named_parameters())
    rates = _factors(named, factors or {})
    if learning is None:
        learning = {name: 0 for name, p in named.items() if p.requires_grad}
    decay = 0.0 if isinstance(config, AdamConfig) else config.weight_decay
    hidden = hidden_matrices(model) if isinstance(config, MuonConfig) else ()
    groups: dict[tuple[float, float, float, bool], list[Parameter]] = {}
    for name, begin in learning.items():
        # PyTorch's fused SGD wants momentum of all parameters of a group, or of none.
        parameter = named[name]
        kind = decay if parameter.ndim >= 2 else 0.0, rates[name], begin, parameter in hidden
        groups.setdefault(kind, []).append(parameter)
    optimizer = _build(
        config,
        [
            {"params": members, "weight_decay": decay, "factor": factor, "is_hidden": is_hidden}
            for (decay, factor, _, is_hidden), members in groups.items()
        ],
    )
    if isinstance(optimizer, Muon):
        optimizer.bf16 = bf16
    return optimizer


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
        case MuonConfig():
            momentum, adamw = config.momentum, (lr, config.betas, config.epsilon)
            return Muon([g | {"momentum": momentum} for g in groups], *adamw, fused=fused)
        case ScheduleFreeAdamWConfig():
            return schedule_free_adamw(config, groups)
        case _:
            assert_never(config)


def moments_per_weight(config: OptimizerConfig) -> int:
    """Return how many numbers the optimizer keeps for each weight, for estimates of size."""
    match config:
        case AdamConfig() | AdamWConfig() | MuonConfig() | ScheduleFreeAdamWConfig():
            return 2  # of Muon's matrices one; an upper bound
        case SgdConfig():
            return 1 if config.momentum else 0
        case AdafactorConfig():
            return 1  # far fewer for matrices; an upper bound
        case _:
            assert_never(config)


def _can_fuse(parameters: list[Parameter]) -> bool:
    return all(p.device.type in FUSED_DEVICES and torch.is_floating_point(p) for p in parameters)


class Stepper:
    """``optimizer.step()`` to the bit, in less time where the model is small.

    What PyTorch does around its fused Adam for every step (ask each parameter the same questions,
    sort them by device, tell a profiler that seldom listens) took 0.07 ms for six parameters
    (Zen 4), as long as the arithmetic for their 109,386 numbers. Other optimizers, several devices
    or numbers of several kinds, and parts of weights are left to it, and so are steps in which a
    parameter learns for the first time.

    Args:
        optimizer: What moves the weights; hooks on its steps would not be called.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        groups = optimizer.param_groups
        parameters: list[Parameter] = [p for group in groups for p in group["params"]]
        self._is_direct = (
            type(optimizer) in (Adam, AdamW)  # a subclass may compute otherwise
            and all(group["fused"] for group in groups)
            and len({(p.device, p.dtype) for p in parameters}) == 1
            and not any(map(is_part, parameters))
        )
        # Of torch 2.6 on; torch.optim.adam calls them too, and the tests compare.
        self._apply: Any = (
            torch._fused_adamw_ if isinstance(optimizer, AdamW) else torch._fused_adam_  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
        )

    def __call__(self) -> None:
        """Move every parameter that has a gradient."""
        state = self._optimizer.state
        learning = [
            [p for p in group["params"] if p.grad is not None]
            for group in self._optimizer.param_groups
        ]
        if not self._is_direct or any(not state.get(p) for members in learning for p in members):
            self._optimizer.step()
            return
        with torch.no_grad():
            for group, members in zip(self._optimizer.param_groups, learning, strict=True):
                if members:
                    self._move(group, members, [state[p] for p in members])

    def _move(
        self, group: dict[str, Any], members: list[Parameter], states: list[dict[str, Tensor]]
    ) -> None:
        steps = [state["step"] for state in states]
        torch._foreach_add_(steps, 1)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
        beta1, beta2 = group["betas"]
        self._apply(
            members,
            [p.grad for p in members],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],  # greatest second moments, of which amsgrad is made
            steps,
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )


class Gradients:
    """What the backward pass left at the parameters of a model, all on one device.

    The parameters are listed once: going through the modules takes longer than the norm of a
    small model's gradient.
    """

    def __init__(self, model: nn.Module) -> None:
        self._parameters = list(model.parameters())
        self._in_parts = in_parts(model)  # asking each takes long, too

    def norms(self) -> Sequence[Float[Tensor, ""]]:
        """Euclidean norm of every gradient there is, or of the part that this process has."""
        gradients = self._all()
        return torch._foreach_norm(gradients) if gradients else ()  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]

    def scale(self, factor: float) -> None:
        """Multiply all by the same."""
        torch._foreach_mul_(self._all(), factor)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]

    def drop(self) -> None:
        """Make room for the next."""
        for parameter in self._parameters:
            parameter.grad = None

    def _all(self) -> list[Tensor]:
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        return [own_part(gradient) for gradient in gradients] if self._in_parts else gradients


def read(numbers: Sequence[Float[Tensor, ""]]) -> list[float]:
    """Return the values of tensors: the one time in an update that a CUDA device is waited for."""
    if all(number.is_cpu for number in numbers):
        return [number.item() for number in numbers]
    return torch.stack([number.float() for number in numbers]).tolist()
