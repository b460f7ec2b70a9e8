"""Fused output projection, cross-entropy and divergence of two passes."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from seqtrans.nn.kernels.cross_entropy import (
    Gradients,
    LogitsGradient,
    output_losses,
    rows_at_once,
)
from seqtrans.nn.kernels.linear import multiply
from seqtrans.nn.kernels.soft_cap import soft_cap_slope, soft_capped
from seqtrans.tensor_types import Float, Int, Tensor


@dataclass(frozen=True, kw_only=True)
class ConsistencyTerms:
    """Factors of the terms of a loss; P and Q are the distributions of first and second pass.

    Attributes:
        first: Factor of the smoothed cross-entropy of P.
        second: Factor of the smoothed cross-entropy of Q.
        forward: Factor of the Kullback-Leibler divergence KL(P || Q).
        backward: Factor of KL(Q || P).
        mixed: Factor of the Jensen-Shannon divergence, the mean of KL(P || M) and KL(Q || M), where
            M is the mean of P and Q.
    """

    first: float = 1.0
    second: float = 0.0
    forward: float = 0.0
    backward: float = 0.0
    mixed: float = 0.0


def linear_consistency(
    features: Float[Tensor, "two N D"],
    weight: Float[Tensor, "V D"],
    bias: Float[Tensor, " V"],
    target: Int[Tensor, " N"],
    label_smoothing: float,
    terms: ConsistencyTerms,
    soft_cap: float | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, ""]]:
    """Return the loss of two passes over the same positions, summed over positions.

    The logits are ``features @ weight.T + bias``; with ``soft_cap`` they are ``soft_capped``.

    As in ``linear_cross_entropy``, gradients are computed along with the loss, a few rows at a
    time, so no tensor grows with N * V. Both distributions of a divergence have gradients.

    Returns:
        The loss; the negative log-likelihood of the first pass; and the weighted divergences. The
        last two have no gradient. All in nats.
    """
    compute = partial(
        _sweep, target=target, smoothing=label_smoothing, terms=terms, soft_cap=soft_cap
    )
    loss, nll, divergence = output_losses(features, weight, bias, compute)
    return loss, nll, divergence


def _sweep(
    features: Float[Tensor, "two N D"],
    weight: Float[Tensor, "V D"],
    bias: Float[Tensor, " V"],
    with_gradient: bool,  # noqa: FBT001
    **settings: Any,
) -> tuple[tuple[Tensor, Tensor, Tensor], Gradients | None]:
    sweep = _Sweep(features, weight, bias, with_gradient=with_gradient, **settings)
    return sweep.run(), sweep.gradient and sweep.gradient.finish()


class _Sweep:
    """Computes the losses of both passes in chunks of positions."""

    def __init__(
        self,
        features: Float[Tensor, "two N D"],
        weight: Float[Tensor, "V D"],
        bias: Float[Tensor, " V"],
        *,
        target: Int[Tensor, " N"],
        smoothing: float,
        terms: ConsistencyTerms,
        soft_cap: float | None,
        with_gradient: bool,
    ) -> None:
        self.features, self.weight, self.bias, self.target = features, weight, bias, target
        self.smoothing, self.terms, self.soft_cap = smoothing, terms, soft_cap
        self.wide = torch.promote_types(features.dtype, torch.float32)
        flat = features.flatten(0, 1)
        self.gradient = LogitsGradient(flat, weight, self.wide) if with_gradient else None

    def run(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return loss, negative log-likelihood and divergence; fill ``gradient``, if wanted."""
        positions = self.features.size(1)
        sums = self.features.new_zeros(3, dtype=self.wide)
        step, block = rows_at_once(self.features)
        for start in range(0, positions, step):
            rows = slice(start, start + step)
            first, second = (multiply(x[rows], self.weight, self.bias) for x in self.features)
            chunks = (x.split(block) for x in (first, second, self.target[rows, None]))
            for p, q, index in zip(*chunks, strict=True):
                sums += self._block(p, q, index)
            if self.gradient is not None:
                self.gradient.add(start, first)
                self.gradient.add(positions + start, second)
        loss, nll, divergence = sums.unbind()
        return loss, nll, divergence

    def _block(
        self,
        first: Float[Tensor, "rows V"],
        second: Float[Tensor, "rows V"],
        index: Int[Tensor, "rows 1"],
    ) -> Float[Tensor, " 3"]:
        """Return the sums of a block, and replace logits by their gradients."""
        terms = self.terms
        cap = self.soft_cap
        capped = [x if cap is None else soft_capped(x, cap) for x in (first, second)]
        log_p, log_q = (x.log_softmax(dim=1, dtype=self.wide) for x in capped)
        divergence, to_p, to_q = divergences(log_p, log_q, terms)
        loss, nll = divergence, -log_p.gather(1, index).sum()
        for log_probs, to_logits, factor in (
            (log_p, to_p, terms.first),
            (log_q, to_q, terms.second),
        ):
            if not factor:
                continue
            likelihood, uniform = log_probs.gather(1, index).sum(), log_probs.mean(1).sum()
            loss = loss - factor * ((1 - self.smoothing) * likelihood + self.smoothing * uniform)
            to_logits += factor * (log_probs.exp() - self.smoothing / log_probs.size(1))
            share = factor * (self.smoothing - 1)
            to_logits.scatter_add_(1, index, to_logits.new_full(index.shape, share))
        if self.gradient is not None:
            if cap is not None:
                to_p *= soft_cap_slope(capped[0], cap)
                to_q *= soft_cap_slope(capped[1], cap)
            self.gradient.to_bias += to_p.sum(0) + to_q.sum(0)
            first.copy_(to_p)
            second.copy_(to_q)
        return torch.stack((loss, nll, divergence))


def divergences(
    log_p: Float[Tensor, "rows V"], log_q: Float[Tensor, "rows V"], terms: ConsistencyTerms
) -> tuple[Float[Tensor, ""], Float[Tensor, "rows V"], Float[Tensor, "rows V"]]:
    """Return the divergences, times their factors, and their gradients for both logits."""
    p, q, ratio = log_p.exp(), log_q.exp(), log_p - log_q
    total, to_p, to_q = p.new_zeros(()), torch.zeros_like(p), torch.zeros_like(q)
    if terms.forward:
        divergence = (p * ratio).sum(1, keepdim=True)
        total = total + terms.forward * divergence.sum()
        to_p += terms.forward * p * (ratio - divergence)
        to_q += terms.forward * (q - p)
    if terms.backward:
        divergence = -(q * ratio).sum(1, keepdim=True)
        total = total + terms.backward * divergence.sum()
        to_p += terms.backward * (p - q)
        to_q -= terms.backward * q * (ratio + divergence)
    if terms.mixed:
        log_mean = torch.logaddexp(log_p, log_q) - math.log(2)
        for probs, log_probs, to_logits in ((p, log_p, to_p), (q, log_q, to_q)):
            divergence = (probs * (log_probs - log_mean)).sum(1, keepdim=True)
            total = total + terms.mixed / 2 * divergence.sum()
            # The gradient through the mean is 0.
            to_logits += terms.mixed / 2 * probs * (log_probs - log_mean - divergence)
    return total, to_p, to_q
