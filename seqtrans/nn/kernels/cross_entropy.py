"""Fused output projection and label-smoothed cross-entropy that never store all logits."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch.autograd.function import once_differentiable

from seqtrans.nn.kernels.linear import multiply, multiply_transposed
from seqtrans.nn.kernels.soft_cap import soft_cap_slope, soft_capped
from seqtrans.tensor_types import Float, Int, Tensor

Gradients = tuple[Tensor, Tensor, Tensor]
"""Of features, weight and bias."""

Compute = Callable[..., tuple[tuple[Tensor, ...], Gradients | None]]
"""Computes losses from features, weight and bias, and with a True behind them the gradients of the
first loss."""

ROWS = 1024
"""Positions whose logits exist at one time: many, since each chunk adds to the weights' gradients.
"""

_CPU_BLOCK = 64
"""Positions whose probabilities exist at one time; for 8,000 tokens, 2 MB that fit the cache."""


def linear_cross_entropy(
    features: Float[Tensor, "N D"],
    weight: Float[Tensor, "V D"],
    bias: Float[Tensor, " V"],
    target: Int[Tensor, " N"],
    label_smoothing: float = 0.0,
    soft_cap: float | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return the cross-entropy of ``features @ weight.T + bias``, summed over positions.

    With ``soft_cap``, of the ``soft_capped`` logits.

    Gradients are computed along with the loss, a few rows at a time, while the probabilities are
    still in the cache (as in arXiv:2410.10989); the backward pass only scales them. On a CPU it
    takes less than half the time of ``F.cross_entropy``, and no memory that grows with N * V.
    Under autocast the matrix products run in its type; softmax and sums in at least fp32.

    Returns:
        The loss, smoothed as by ``F.cross_entropy``, and the negative log-likelihood, which has no
        gradient; both in nats.
    """
    compute = partial(_sweep, target=target, smoothing=label_smoothing, soft_cap=soft_cap)
    loss, nll = output_losses(features, weight, bias, compute)
    return loss, nll


def output_losses(
    features: Float[Tensor, "*N D"],
    weight: Float[Tensor, "V D"],
    bias: Float[Tensor, " V"],
    compute: Compute,
) -> Sequence[Float[Tensor, ""]]:
    """Return losses of an output layer, of which ``compute`` gives the gradient along.

    Under autocast ``compute`` gets its tensors in the type of autocast, which is off meanwhile.

    Returns:
        What ``compute`` returns first; only the first loss has a gradient.
    """
    losses = _OutputLosses.apply(features, weight, bias, compute, torch.is_grad_enabled())
    return cast("tuple[Tensor, ...]", losses)


class _OutputLosses(torch.autograd.Function):
    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any,
        features: Float[Tensor, "*N D"],
        weight: Float[Tensor, "V D"],
        bias: Float[Tensor, " V"],
        compute: Compute,
        with_gradient: bool,  # noqa: FBT001
    ) -> tuple[Float[Tensor, ""], ...]:
        inputs = (features, weight, bias)
        device = features.device.type
        is_mixed = torch.is_autocast_enabled(device)
        narrow = torch.get_autocast_dtype(device) if is_mixed else features.dtype
        with torch.autocast(device, enabled=False):
            losses, gradients = compute(*(x.to(narrow) for x in inputs), with_gradient)
        if gradients is not None:
            saved = (g.view_as(x).to(x.dtype) for g, x in zip(gradients, inputs, strict=True))
            ctx.save_for_backward(*saved)
        ctx.mark_non_differentiable(*losses[1:])
        return losses

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Any
    ) -> tuple[Tensor | None, ...]:
        return *(saved * gradients[0] for saved in ctx.saved_tensors), None, None


def _sweep(
    features: Float[Tensor, "N D"],
    weight: Float[Tensor, "V D"],
    bias: Float[Tensor, " V"],
    with_gradient: bool,  # noqa: FBT001
    *,
    target: Int[Tensor, " N"],
    smoothing: float,
    soft_cap: float | None,
) -> tuple[tuple[Float[Tensor, ""], Float[Tensor, ""]], Gradients | None]:
    """Compute loss, negative log-likelihood, and gradients for the first three arguments.

    Smoothing mixes the uniform distribution into every target. Its effect is linear in the logits,
    so without a cap it is computed from sums over all rows, without a pass over the logits.
    """
    wide = torch.promote_types(features.dtype, torch.float32)
    gradient = LogitsGradient(features, weight, wide) if with_gradient else None
    log_sum_exp = target_logit = mean_logit = features.new_zeros((), dtype=wide)
    step, block = rows_at_once(features)
    for start in range(0, features.size(0), step):
        rows, wanted = features[start : start + step], target[start : start + step, None]
        all_logits = multiply(rows, weight, bias)  # (step, V)
        for logits, index in zip(all_logits.split(block), wanted.split(block), strict=True):
            sums = _block(logits, index, smoothing, soft_cap, gradient)
            log_sum_exp, target_logit = log_sum_exp + sums[0], target_logit + sums[1]
            mean_logit = mean_logit + sums[2]
        if gradient is not None:
            gradient.add(start, all_logits)
    nll = log_sum_exp - target_logit
    if soft_cap is None:
        mean_logit = features.sum(0, dtype=wide) @ weight.mean(0, dtype=wide)
        mean_logit = mean_logit + features.size(0) * bias.mean(dtype=wide)
    loss = (1 - smoothing) * nll + smoothing * (log_sum_exp - mean_logit)
    return (loss, nll), gradient and gradient.finish(smoothing if soft_cap is None else 0.0)


def _block(
    logits: Float[Tensor, "rows V"],
    index: Int[Tensor, "rows 1"],
    smoothing: float,
    soft_cap: float | None,
    gradient: "LogitsGradient | None",
) -> tuple[Tensor, Tensor, Tensor | float]:
    """Replace logits by their gradient, if wanted, without the smoothing where it is linear.

    Returns:
        Sums over the rows: of the log-sum-exp, of the logit of the target, and with a cap of the
        mean logit, all of capped logits.
    """
    wide = torch.promote_types(logits.dtype, torch.float32)
    capped = logits if soft_cap is None else soft_capped(logits, soft_cap)
    probs = capped.softmax(dim=1, dtype=wide)
    # The log-sum-exp follows from the largest probability, which can't underflow.
    log_sum_exp = (capped.amax(1) - probs.amax(1).log()).sum()
    target_logit = capped.gather(1, index).sum(dtype=wide)
    if gradient is not None:
        probs.scatter_add_(1, index, probs.new_full(index.shape, smoothing - 1))
        if soft_cap is not None:
            probs.sub_(smoothing / probs.size(1)).mul_(soft_cap_slope(capped, soft_cap))
        gradient.to_bias += probs.sum(0)
        logits.copy_(probs)
    return log_sum_exp, target_logit, 0.0 if soft_cap is None else capped.mean(1).sum()


def rows_at_once(features: Float[Tensor, "*P D"]) -> tuple[int, int]:
    """Return how many rows of logits and of probabilities to compute at once."""
    if torch.compiler.is_compiling():  # it would unroll the loop for every number of rows
        rows = max(features.size(-2), 1)
        return rows, rows
    return ROWS, _CPU_BLOCK if features.is_cpu else ROWS


class LogitsGradient:
    """Accumulates gradients of the loss from chunks of the gradient of the logits."""

    def __init__(
        self, features: Float[Tensor, "N D"], weight: Float[Tensor, "V D"], wide: torch.dtype
    ) -> None:
        self.features, self.weight = features, weight
        self.to_features = torch.empty_like(features)
        self.to_weight = torch.zeros_like(weight, dtype=wide)
        self.to_bias = weight.new_zeros(weight.size(0), dtype=wide)

    def add(self, start: int, to_logits: Float[Tensor, "rows V"]) -> None:
        """Add the gradient of the logits of rows from ``start`` on, without the smoothing."""
        rows = self.features[start : start + to_logits.size(0)]
        self.to_features[start : start + rows.size(0)] = multiply(to_logits, self.weight.t())
        self.to_weight += multiply_transposed(to_logits, rows)

    def finish(self, smoothing: float = 0.0) -> Gradients:
        """Add the smoothing and return the gradients of features, weight and bias."""
        share = smoothing / self.weight.size(0)
        self.to_features -= share * self.weight.sum(0)
        self.to_weight -= share * self.features.sum(0, dtype=self.to_weight.dtype)
        self.to_bias -= share * self.features.size(0)
        return self.to_features, self.to_weight, self.to_bias
