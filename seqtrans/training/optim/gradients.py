"""The gradient of a whole model."""

from collections.abc import Sequence

import torch
from torch import nn

from seqtrans.tensor_types import Float, Tensor
from seqtrans.training.distributed.sharded_tensors import in_parts, own_part


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
        found = [p.grad for p in self._parameters if p.grad is not None]
        return [own_part(gradient) for gradient in found] if self._in_parts else found


def read(numbers: Sequence[Float[Tensor, ""]]) -> list[float]:
    """Their values: the one time in an update that a CUDA device is waited for."""
    if all(number.is_cpu for number in numbers):
        return [number.item() for number in numbers]
    return torch.stack([number.float() for number in numbers]).tolist()
