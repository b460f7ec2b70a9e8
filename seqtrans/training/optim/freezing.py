"""Parts of a model that do not learn, for good or for the first epochs."""

from collections.abc import Mapping, Sequence

from torch import nn

from seqtrans.errors import TrainingError
from seqtrans.protocols import LearnsInPart
from seqtrans.training.optim.name_patterns import matching

_FOR_GOOD = float("inf")


class Freezing:
    """Takes what patterns name out of training, as a function of the epoch.

    A frozen parameter has no gradient, so no optimizer moves it. A module with a frozen buffer is
    in evaluation mode, so that a batch normalization uses its statistics and keeps them; other
    modules, such as dropout, are as they always are in training.

    Args:
        model: What learns; what never does by itself is frozen, too (``LearnsInPart``).
        patterns: Names of what never does, parameters and buffers.
        thaw: Names of more that does not at first, and the epoch in which it begins to, counted
            from 1. Of several patterns that name a tensor the last to let it learn counts.

    Raises:
        TrainingError: A pattern matches nothing, or nothing is left to learn in the first epoch.
    """

    def __init__(
        self, model: nn.Module, patterns: Sequence[str], thaw: Mapping[str, int] | None = None
    ) -> None:
        self.model = model
        self._parameters = dict(model.named_parameters())
        self._holders = {
            f"{prefix}.{name}".removeprefix("."): module
            for prefix, module in model.named_modules()
            for name, _ in module.named_buffers(recurse=False)
        }
        self._until: dict[str, float] = {}  # by name, the first epoch in which it learns, from 0
        if isinstance(model, LearnsInPart):
            self._until |= {n: _FOR_GOOD for n in self._parameters if model.never_learns(n)}
        for pattern in patterns:
            self._hold(pattern, "freeze", _FOR_GOOD)
        for pattern, epoch in (thaw or {}).items():
            self._hold(pattern, "thaw", epoch - 1)
        if all(self.is_frozen(name, epoch=0) for name in self._parameters):
            held = ", ".join([*patterns, *(thaw or {})])
            raise TrainingError(f"freeze: {held} leave no parameter to train in the first epoch")

    def is_frozen(self, name: str, epoch: int) -> bool:
        """Return whether a parameter or buffer is frozen in an epoch, counted from 0."""
        return name in self._until and epoch < self._until[name]

    def learning(self) -> dict[str, float]:
        """Return, by name of the parameters that ever learn, the first epoch they do, from 0."""
        begins = {name: self._until.get(name, 0) for name in self._parameters}
        return {name: epoch for name, epoch in begins.items() if epoch != _FOR_GOOD}

    def enter(self, epoch: int) -> bool:
        """Freeze and thaw for an epoch; return whether anything changed."""
        changed = False
        for name, parameter in self._parameters.items():
            learns = not self.is_frozen(name, epoch)
            changed |= parameter.requires_grad is not learns
            parameter.requires_grad = learns
        return changed

    def train(self, epoch: int) -> None:
        """Put the model into training mode, and what is frozen in an epoch into evaluation mode."""
        self.model.train()
        for name, module in self._holders.items():
            if self.is_frozen(name, epoch):
                module.training = False  # this module alone, not what is inside

    def _hold(self, pattern: str, key: str, until: float) -> None:
        names = [*self._parameters, *self._holders]
        for name in matching(pattern, names, key, "parameter or buffer"):
            self._until[name] = max(until, self._until.get(name, 0))
