"""Schedule-free AdamW by the package schedulefree: an average of weights instead of a decay."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]
from torch.optim import Optimizer

from seqtrans.errors import TrainingError
from seqtrans.tensor_types import Tensor
from seqtrans.training.optim.ema import Average
from seqtrans.training.optim.optimizer_config import ScheduleFreeAdamWConfig

_COUNTERS = {"k": 0, "weight_sum": 0.0, "lr_max": -1.0}
"""Numbers that the package keeps for each parameter group, and their initial values."""


def schedule_free_adamw(
    config: ScheduleFreeAdamWConfig, groups: Sequence[dict[str, Any]]
) -> Optimizer:
    """Build the optimizer; the parameters are y, its state has z and second moments.

    The state ``step`` of each parameter holds the counters of its group in fp64, so that a
    checkpoint has them: PyTorch restores a state of this name without a change of type.

    Raises:
        TrainingError: The package is not installed.
    """
    try:
        from schedulefree import AdamWScheduleFree
    except ImportError as error:
        raise TrainingError(
            "training.optimizer schedule_free_adamw needs pip install 'seqtrans[schedulefree]'"
        ) from error
    optimizer = AdamWScheduleFree(groups, config.learning_rate, config.betas, config.epsilon)
    optimizer.train()  # for good: its eval() and train() would round the weights
    optimizer.register_step_post_hook(_store_counters)
    optimizer.register_load_state_dict_post_hook(_restore_counters)
    return optimizer


class ScheduleFreeAverage(Average):
    """The average x of schedule-free training, computed from y and z (arXiv:2405.15682, 4.1).

    Raises:
        TrainingError: The model has batch normalization, whose statistics are those at y.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer) -> None:
        super().__init__(model)
        if any(isinstance(module, _BatchNorm) for module in model.modules()):
            raise TrainingError(
                "training.optimizer schedule_free_adamw is used with averaged weights, for which "
                "batch normalization has no statistics: use adamw with ema_decay"
            )
        self._model, self._optimizer = model, optimizer

    def named(self) -> dict[str, Tensor]:
        """See ``Average.named``; what has not learned yet is its own average."""
        beta = self._optimizer.param_groups[0]["betas"][0]
        averages: dict[str, Tensor] = {}
        for name, parameter in self._model.named_parameters():
            z = self._optimizer.state.get(parameter, {}).get("z")
            y = parameter.detach()
            averages[name] = y.clone() if z is None else y.lerp(z, 1.0 - 1.0 / beta)
        return averages


def _store_counters(optimizer: Optimizer, *_: Any) -> None:
    """Copy the counters of each group to its parameters; reset those of groups still frozen."""
    for group in optimizer.param_groups:
        states = [state for p in group["params"] if (state := optimizer.state.get(p))]
        if not states:  # the package has counted a step that the group did not take
            group.update(_COUNTERS)
        for state in states:
            state["step"] = torch.tensor([group[k] for k in _COUNTERS], dtype=torch.float64)


def _restore_counters(optimizer: Optimizer) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if "step" in (state := optimizer.state.get(parameter, {})):
                k, weight_sum, lr_max = state["step"].tolist()
                group.update(k=int(k), weight_sum=weight_sum, lr_max=lr_max)
