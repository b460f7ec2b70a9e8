"""Pooling whose gradient is the same bits each time, on a GPU too."""

import torch
import torch.nn.functional as F

from seqtrans.tensor_types import Float, Tensor


def regional_means(
    x: Float[Tensor, "B C height width"], count: int
) -> Float[Tensor, "B C count count"]:
    """Means over ``count`` by ``count`` regions that cover the map evenly.

    They are those of ``F.adaptive_avg_pool2d``, which overlap or are single pixels where they must.
    Its gradient is a sum that a GPU adds up in whatever order numbers come; products don't.
    """
    if x.is_cpu:
        return F.adaptive_avg_pool2d(x, count)
    return averaged_by_products(x, count)


def averaged_by_products(
    x: Float[Tensor, "B C height width"], count: int
) -> Float[Tensor, "B C count count"]:
    """``regional_means`` by two products of matrices."""
    above, aside = (_means_of(size, count).to(x) for size in x.shape[-2:])
    return above @ x @ aside.t()


def _means_of(size: int, count: int) -> Float[Tensor, "count size"]:
    """What each of ``size`` places counts in each region; regions of neighbours may overlap."""
    means = torch.zeros(count, size, dtype=torch.float64)
    for i in range(count):
        start, end = i * size // count, -(-(i + 1) * size // count)
        means[i, start:end] = 1 / (end - start)
    return means
