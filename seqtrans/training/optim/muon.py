"""Muon: orthogonal updates for the matrices inside a model, AdamW for all else."""

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import Parameter
from torch.optim import AdamW

from seqtrans.tensor_types import Float, Tensor

_COEFFICIENTS = 3.4445, -4.7750, 2.0315
_ITERATIONS = 5


class Muon(AdamW):
    """Orthogonal updates (Jordan et al., 2024), as large as those of AdamW (arXiv:2502.16982).

    In a group with ``is_hidden`` a step moves each matrix by ``0.2 * sqrt(longer side)`` times
    the orthogonal matrix nearest to its Nesterov momentum, times the rate. That has the root mean
    square of a usual step of AdamW, so one learning rate and one weight decay suit both. In other
    groups it is AdamW's step.

    ``torch.optim.Muon`` multiplies in bf16, which takes a processor without bf16 some 30 times as
    long, and one matrix after the other. Here all matrices of a shape are multiplied at once.

    Parameter groups have ``is_hidden`` and ``momentum`` beside what those of AdamW have.

    Attributes:
        bf16: Whether to multiply in bf16, as the model does, instead of the type of the weights.
    """

    bf16 = False

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Move every parameter that has a gradient."""
        if closure is not None:
            raise ValueError("Muon takes no closure: compute the gradients before the step")
        groups = self.param_groups
        self.param_groups = [group for group in groups if not group["is_hidden"]]
        try:
            super().step()
        finally:
            self.param_groups = groups
        for group in groups:
            if group["is_hidden"]:
                self._move(group)

    def _move(self, group: dict[str, Any]) -> None:
        by_shape: dict[torch.Size, list[Parameter]] = defaultdict(list)
        for parameter in group["params"]:
            if parameter.grad is not None:
                by_shape[parameter.shape].append(parameter)
        for shape, members in by_shape.items():
            for parameter in members:
                if not self.state[parameter]:  # AdamW asks every state that it loads for a step
                    self.state[parameter]["step"] = torch.zeros(())
                    self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
            momenta = torch.stack([self.state[p]["momentum_buffer"] for p in members])
            gradients = torch.stack([p.grad for p in members if p.grad is not None])
            momenta.lerp_(gradients, 1 - group["momentum"])
            directions = gradients.lerp_(momenta, group["momentum"])
            steps = orthogonalized(directions.bfloat16() if self.bf16 else directions)
            size = group["lr"] * 0.2 * math.sqrt(max(shape))
            for parameter, momentum, step in zip(members, momenta, steps, strict=True):
                self.state[parameter]["momentum_buffer"].copy_(momentum)
                parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(step, alpha=-size)


def orthogonalized(matrices: Float[Tensor, "N rows columns"]) -> Float[Tensor, "N rows columns"]:
    """Return matrices with the same singular vectors and singular values near 1.

    Five steps of a Newton-Schulz iteration whose coefficients raise small singular values fastest:
    they end between 0.7 and 1.2, unless they are a thousandth of the greatest.
    """
    is_tall = matrices.size(1) > matrices.size(2)
    x = matrices.mT if is_tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    a, b, c = _COEFFICIENTS
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if is_tall else x


def hidden_matrices(model: nn.Module) -> set[Parameter]:
    """Return the matrices inside a model: neither embeddings nor the output layer's."""
    matrices = [
        (module, parameter)
        for module in model.modules()
        for parameter in module.parameters(recurse=False)
        if parameter.ndim == 2
    ]
    if not matrices:
        return set()
    output, _ = matrices[-1]  # the module that comes last
    outside = {p for module, p in matrices if module is output or isinstance(module, nn.Embedding)}
    return {parameter for _, parameter in matrices} - outside
