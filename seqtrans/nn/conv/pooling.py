"""Pooling with a deterministic gradient, on a GPU too."""

import torch
import torch.nn.functional as F

from seqtrans.tensor_types import Float, Tensor


def regional_means(
    x: Float[Tensor, "B C height width"], count: int
) -> Float[Tensor, "B C count count"]:
    """Average over ``count`` by ``count`` regions that cover the map evenly.

    The result is that of ``F.adaptive_avg_pool2d``, whose regions may overlap. Its gradient is a
    sum that a GPU computes in a varying order; the gradient of matrix products is deterministic.
    """
    if x.is_cpu:
        return F.adaptive_avg_pool2d(x, count)
    return averaged_by_products(x, count)


def averaged_by_products(
    x: Float[Tensor, "B C height width"], count: int
) -> Float[Tensor, "B C count count"]:
    """Compute ``regional_means`` by two matrix products."""
    above, aside = (_means_of(size, count).to(x) for size in x.shape[-2:])
    return above @ x @ aside.t()


def _means_of(size: int, count: int) -> Float[Tensor, "count size"]:
    """Return the weight of each of ``size`` positions in each region; regions may overlap."""
    means = torch.zeros(count, size, dtype=torch.float64)
    for i in range(count):
        start, end = i * size // count, -(-(i + 1) * size // count)
        means[i, start:end] = 1 / (end - start)
    return means
