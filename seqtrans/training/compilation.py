"""``torch.compile`` where it works."""

import logging
from typing import Any

import torch
from torch import Tensor, nn

from seqtrans.runtime.out_of_memory import is_out_of_memory

logger = logging.getLogger(__name__)
# Dynamo and Inductor derive all of theirs from RuntimeError. An error that is not theirs but
# the model's appears again where the plain model takes over, so none is hidden.
FAILURES = (RuntimeError, OSError)


class Compiled(nn.Module):
    """A model whose forward pass is compiled, or is not where that fails.

    Compiling needs a C++ compiler on the CPU and Triton on CUDA. A failure costs one warning,
    at the trial before training or at the first real call, and training goes on uncompiled.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.plain = model
        self._compiled = torch.compile(model, dynamic=True) if _can_compile(model) else None

    @property
    def is_compiled(self) -> bool:
        """Whether compiled code runs, so far."""
        return self._compiled is not None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the model returns."""
        if self._compiled is None:
            return self.plain(*args, **kwargs)
        try:
            return self._compiled(*args, **kwargs)
        except FAILURES as error:
            if is_out_of_memory(error):
                raise
            _warn(error)
            self._compiled = None
            return self.plain(*args, **kwargs)


def _can_compile(model: nn.Module) -> bool:
    device = next(model.parameters()).device
    try:
        torch.compile(_trial)(torch.ones(8, device=device, requires_grad=True)).backward()
    except FAILURES as error:
        _warn(error)
        return False
    return True


def _trial(x: Tensor) -> Tensor:
    return (x * 2.0).sin().sum()


def _warn(error: Exception) -> None:
    cause = next(iter(str(error).strip().splitlines()), type(error).__name__)
    logger.warning("torch.compile does not work here (%s); training without it", cause)
