"""How much of an update is matrix products, and how fast the processor computes them alone.

A training can't be faster than its products. Those of some updates are recorded with their shapes
(forward, backward and the optimizer's), and each shape is then computed alone, with ``multiply`` of
seqtrans: the sum of these times is what the updates would take if products were all there is.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from seqtrans.nn.kernels.linear import multiply

TRIES = 5
ATEN = torch.ops.aten


class Product(NamedTuple):
    """``batch`` products of a (rows, inner) and an (inner, columns) matrix."""

    batch: int
    rows: int
    inner: int
    columns: int
    dtype: torch.dtype

    @property
    def flop(self) -> int:
        """Multiplications and additions."""
        return 2 * self.batch * self.rows * self.inner * self.columns


class ProductRecorder(TorchDispatchMode):
    """Counts the products that are computed while it is entered, by shape."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[Product] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Compute the operation and count its products."""
        shapes = SHAPES_OF.get(func.overloadpacket)
        if shapes:
            self.counts.update(shapes(args))
        return func(*args, **(kwargs or {}))

    @property
    def flop(self) -> int:
        """All multiplications and additions."""
        return sum(count * product.flop for product, count in self.counts.items())

    def seconds_alone(self) -> float:
        """Return how long all products take if nothing else is computed."""
        return sum(count * _fastest(product) for product, count in self.counts.items())


def _fastest(product: Product) -> float:
    """Return the shortest time of a few tries, in seconds."""
    batch, rows, inner, columns, dtype = product
    if batch == 1:
        x, weight = torch.randn(rows, inner).to(dtype), torch.randn(columns, inner).to(dtype)
        compute: Callable[[], object] = lambda: multiply(x, weight)  # noqa: E731
    else:
        a = torch.randn(batch, rows, inner).to(dtype)
        b = torch.randn(batch, inner, columns).to(dtype)
        compute = lambda: torch.bmm(a, b)  # noqa: E731
    times: list[float] = []
    with torch.inference_mode():
        for _ in range(TRIES):
            began = time.perf_counter()
            compute()
            times.append(time.perf_counter() - began)
    return min(times)


def _of_matrices(a: torch.Tensor, b: torch.Tensor) -> Iterator[Product]:
    batch = a.size(0) if a.dim() == 3 else 1
    yield Product(batch, a.size(-2), a.size(-1), b.size(-1), a.dtype)


def _of_linear(args: Sequence[Any]) -> Iterator[Product]:
    x, weight = args[0], args[1]
    yield Product(1, math.prod(x.shape[:-1]), x.size(-1), weight.size(0), x.dtype)


def _of_attention(query: torch.Tensor, key: torch.Tensor, times: int) -> Iterator[Product]:
    """Yield products of queries and keys; those with values have as many operations."""
    batch, (rows, inner) = math.prod(query.shape[:-2]), query.shape[-2:]
    for _ in range(times):
        yield Product(batch, rows, inner, key.size(-2), query.dtype)


def _of_recurrence(args: Sequence[Any], times: int) -> Iterator[Product]:
    """Yield the products of the input with all positions at once, of the state one by one."""
    x, to_input, to_state = args[0], args[1], args[2]
    positions, batch = x.shape[:2]
    for _ in range(times):
        yield Product(1, positions * batch, x.size(-1), to_input.size(0), x.dtype)
        for _ in range(positions):
            yield Product(1, batch, to_state.size(1), to_state.size(0), x.dtype)


_FLASH = ATEN._scaled_dot_product_flash_attention_for_cpu
_FLASH_BACKWARD = ATEN._scaled_dot_product_flash_attention_for_cpu_backward
SHAPES_OF: dict[Any, Callable[[Sequence[Any]], Iterator[Product]]] = {
    ATEN.mm: lambda args: _of_matrices(args[0], args[1]),
    ATEN.addmm: lambda args: _of_matrices(args[1], args[2]),
    ATEN.bmm: lambda args: _of_matrices(args[0], args[1]),
    ATEN.baddbmm: lambda args: _of_matrices(args[1], args[2]),
    _FLASH: lambda args: _of_attention(args[0], args[1], 2),
    _FLASH_BACKWARD: lambda args: _of_attention(args[1], args[2], 5),  # weights once more
    ATEN.mkldnn_rnn_layer: lambda args: _of_recurrence(args, 1),
    ATEN.mkldnn_rnn_layer_backward: lambda args: _of_recurrence(args, 2),
}
if hasattr(torch.ops.mkldnn, "_linear_pointwise"):
    SHAPES_OF[torch.ops.mkldnn._linear_pointwise] = _of_linear
