"""What a forward pass changes besides gradients."""

import torch
from torch import nn


class Buffers:
    """The buffers of a model, such as running statistics, to be put back after a failed attempt.

    Args:
        model: Its buffers are changed in place only.
    """

    def __init__(self, model: nn.Module) -> None:
        self._own = list(model.buffers())
        self._noted = [buffer.detach().clone() for buffer in self._own]

    def note(self) -> None:
        """Remember them as they are."""
        if not self._own:
            return
        with torch.no_grad():
            torch._foreach_copy_(self._noted, self._own)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]

    @torch.no_grad()
    def restore(self) -> None:
        """Put back what was noted."""
        if self._own:
            torch._foreach_copy_(self._own, self._noted)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
