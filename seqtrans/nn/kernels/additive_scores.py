"""Scores of additive attention for many queries at once, without storing B x Q x M x D numbers.

With a = exp(2 q) and b = exp(2 m), tanh(q + m) = 1 - 2 / (1 + a b). The exponentials are computed
once per query and once per memory position. Each pair then needs only a product and a reciprocal,
several times cheaper than tanh, computed in blocks that fit the processor's cache and recomputed
in the backward pass instead of stored. Measured at B130 Q30 M30 D512 on one core, forward: 22 ms
against 136 ms for tanh in blocks and 320 ms for tanh at once.
"""

from collections.abc import Iterator
from typing import Any

import torch

from seqtrans.tensor_types import Float, Tensor

# exp(2 * 30) squared does not overflow in fp32, and tanh rounds to 1 for much smaller inputs.
_LIMIT = 30.0
# Numbers per block: 1 MB of fp32 stays in a core's cache; a GPU wants large kernels instead.
_CPU_BLOCK, _GPU_BLOCK = 1 << 18, 1 << 26


def exponential(x: Float[Tensor, "B P D"]) -> Float[Tensor, "B P D"]:
    """Return exp(2 x) in at least fp32; ``x`` is clamped to +-30, where tanh is flat."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return (2 * wide.clamp(-_LIMIT, _LIMIT)).exp()


def tanh_scores(
    query: Float[Tensor, "B Q D"], key: Float[Tensor, "B M D"], energy: Float[Tensor, " D"]
) -> Float[Tensor, "B Q M"]:
    """Return the inner product of ``energy`` with tanh(q + m), for each query q and key m.

    Args:
        query: ``exponential`` of the queries.
        key: ``exponential`` of the keys.
        energy: Weight of each feature.
    """
    return _TanhScores.apply(query, key, energy.to(query.dtype))


class _TanhScores(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, energy: Tensor) -> Tensor:
        ctx.save_for_backward(query, key, energy)
        scores = query.new_empty(query.size(0), query.size(1), key.size(1))
        with torch.autocast(query.device.type, enabled=False):
            for rows, columns in _blocks(query, key):
                part = _reciprocals(query[rows, columns], key[rows])
                scores[rows, columns] = part @ energy
            return energy.sum() - 2 * scores

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, energy = ctx.saved_tensors
        (grad,) = grads
        # With r = 1 / (1 + a b): the score is sum(v) - 2 v.r, and dr/da = -b r^2, where
        # a b = 1 / r - 1 makes a dr/da = b dr/db = -r (1 - r).
        slope_query = torch.empty_like(query)
        slope_key = torch.zeros_like(key)
        shares = torch.zeros_like(energy)
        for rows, columns in _blocks(query, key):
            part = _reciprocals(query[rows, columns], key[rows])  # (b, q, M, D)
            weight = grad[rows, columns]
            shares += weight.flatten() @ part.flatten(0, 2)
            slope = torch.addcmul(part, part, part, value=-1).mul_(weight[..., None])
            slope_query[rows, columns] = slope.sum(dim=2)
            slope_key[rows] += slope.sum(dim=1)
        twice = 2 * energy
        return twice * slope_query / query, twice * slope_key / key, grad.sum() - 2 * shares


def _reciprocals(query: Float[Tensor, "b q D"], key: Float[Tensor, "b M D"]) -> Tensor:
    one = query.new_ones(())
    return torch.addcmul(one, query[:, :, None], key[:, None]).reciprocal_()  # (b, q, M, D)


def _blocks(query: Tensor, key: Tensor) -> Iterator[tuple[slice, slice]]:
    """Yield the slices of sentences and queries of each block."""
    sentences, queries, dim = query.shape
    budget = _CPU_BLOCK if query.device.type == "cpu" else _GPU_BLOCK
    columns = min(queries, max(1, budget // (key.size(1) * dim)))
    rows = max(1, budget // (columns * key.size(1) * dim))
    for row in range(0, sentences, rows):
        for column in range(0, queries, columns):
            yield slice(row, row + rows), slice(column, column + columns)
