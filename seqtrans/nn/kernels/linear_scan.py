"""A linear recurrence over all positions of a sequence, with its gradient.

The loop over positions that autograd would record takes a kernel and its bookkeeping per position,
forward and backward, and keeps every intermediate state twice.
"""

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from seqtrans.tensor_types import Float, Tensor


def linear_scan(
    decay: Float[Tensor, "B T D"], inputs: Float[Tensor, "B T D"]
) -> Float[Tensor, "B T D"]:
    """Return the states ``c_t = decay_t * c_{t-1} + inputs_t`` with ``c_{-1} = 0``."""
    return _LinearScan.apply(decay, inputs)


class _LinearScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, decay: Tensor, inputs: Tensor) -> Tensor:
        states = _scan(decay, inputs)
        ctx.save_for_backward(decay, states)
        return states

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, grad: Tensor
    ) -> tuple[Tensor, Tensor]:
        decay, states = ctx.saved_tensors
        # The gradient of a state is the recurrence from right to left, by the decay that follows.
        following = torch.cat((decay[:, 1:], torch.zeros_like(decay[:, :1])), dim=1)
        to_inputs = _scan(following.flip(1), grad.flip(1)).flip(1)
        previous = torch.cat((torch.zeros_like(states[:, :1]), states[:, :-1]), dim=1)
        return to_inputs * previous, to_inputs


def _scan(decay: Float[Tensor, "B T D"], inputs: Float[Tensor, "B T D"]) -> Tensor:
    """Compute the states: on a GPU, where each kernel costs time, by few but larger ones."""
    return by_steps(decay, inputs) if decay.is_cpu else by_doubling(decay, inputs)


def by_steps(
    decay: Float[Tensor, "B T D"], inputs: Float[Tensor, "B T D"]
) -> Float[Tensor, "B T D"]:
    """Compute the states one after the other."""
    states = torch.empty_like(inputs)
    state = torch.zeros_like(inputs[:, 0])
    for t in range(inputs.size(1)):
        state = torch.addcmul(inputs[:, t], decay[:, t], state)
        states[:, t] = state
    return states


def by_doubling(
    decay: Float[Tensor, "B T D"], inputs: Float[Tensor, "B T D"]
) -> Float[Tensor, "B T D"]:
    """Compute all states in log2(T) passes, each over twice as many previous positions.

    After passes of 1, 2, 4, ... positions a state has the inputs of that many positions, and the
    factor is the product of their decays (Hillis and Steele 1986). Factors of 0 to 1 can't
    overflow, as quotients of running products would.
    """
    reach = 1
    while reach < inputs.size(1):
        later = decay[:, reach:]
        inputs = torch.cat(
            (inputs[:, :reach], torch.addcmul(inputs[:, reach:], later, inputs[:, :-reach])), dim=1
        )
        decay = torch.cat((decay[:, :reach], later * decay[:, :-reach]), dim=1)
        reach *= 2
    return inputs
