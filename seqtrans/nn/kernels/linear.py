"""Matrix products, by whichever library is the faster at them on this machine."""

from functools import cache
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

from seqtrans.runtime.onednn import multiplies_bf16
from seqtrans.tensor_types import Float, Tensor

WORTHWHILE = 1 << 24
"""Multiplications in a product from which on oneDNN is called while training.

Its gradient is found in Python, which takes some 0.1 ms (Zen 4): as long as such a product.
"""

_NO_ROOM = "could not create a primitive"


class Linear(nn.Linear):
    """``nn.Linear`` by ``multiply``: the same map, weights and state."""

    def forward(self, input: Float[Tensor, "*P before"]) -> Float[Tensor, "*P after"]:
        """Map the last axis."""
        return linear(input, self.weight, self.bias)


def linear(
    x: Float[Tensor, "*P before"],
    weight: Float[Tensor, "after before"],
    bias: Float[Tensor, " after"] | None = None,
) -> Float[Tensor, "*P after"]:
    """``multiply`` with gradients."""
    if torch.is_grad_enabled():
        if _is_large(x, weight) and _suits_onednn(x):
            return cast("Tensor", _OneDnn.apply(x, weight, bias))
        return F.linear(x, weight, bias)
    by_onednn = _suits_onednn(x) or _is_narrow(x)
    missing = rounded_up(x.shape[:-1].numel()) - x.shape[:-1].numel() if by_onednn else 0
    if missing:  # the new rows' contents are never seen
        padded = multiply(F.pad(x.flatten(0, -2), (0, 0, 0, missing)), weight, bias)
        return padded[:-missing].view(*x.shape[:-1], -1)
    return multiply(x, weight, bias)


def rounded_up(rows: int) -> int:
    """The number of rows that oneDNN is given for ``rows``, where there are no gradients.

    Searching meets new numbers of rows all the time. For each, oneDNN compiles code, which takes
    as long as a small product and stays in memory (0.4 MB; 600 MB after some 10,000 lines). Of
    1 to 4,096 80 are left, larger by 1/16 or by 15 rows at most.
    """
    step = max(16, 1 << rows.bit_length() >> 5)
    return -(-rows // step) * step


def multiply(
    x: Float[Tensor, "*P before"],
    weight: Float[Tensor, "after before"],
    bias: Float[Tensor, " after"] | None = None,
) -> Float[Tensor, "*P after"]:
    """``x @ weight.T + bias``, as ``F.linear``, but without gradient where oneDNN does it.

    In fp32 PyTorch leaves this to MKL, which on AMD processors makes no use of AVX-512; oneDNN
    does and takes less than half the time (torch 2.13, Zen 5, single-threaded: 215 against 97
    GFLOP/s). Only ``torch.compile`` uses it by itself. In bf16 PyTorch uses it too, but fills the
    output with the bias before: of 256 features and 8,000 outputs an eighth more time (Zen 4).
    """
    if _suits_onednn(x) or (bias is not None and _is_narrow(x)):
        product = torch.ops.mkldnn._linear_pointwise
        if not (weight.is_contiguous() or weight.t().is_contiguous()):
            weight = weight.contiguous()  # oneDNN takes seconds to reorder a matrix with gaps
        try:
            return cast("Tensor", product(x, weight, bias, "none", [], ""))
        except RuntimeError as error:
            if _NO_ROOM not in str(error):
                raise  # else memory is short, and PyTorch's own way compiles no code
    return F.linear(x, weight, bias)


def multiply_transposed(
    a: Float[Tensor, "N before"], b: Float[Tensor, "N after"]
) -> Float[Tensor, "before after"]:
    """``a.T @ b`` by ``multiply``, without gradient.

    In fp32 oneDNN reads the second factor of a product as it lies, but the first, here
    transposed, must be copied; so the narrower of the two comes first, and the result may lie
    transposed.
    """
    if a.size(1) <= b.size(1) or not _suits_onednn(a):
        return multiply(a.t(), b.t())
    return multiply(b.t(), a.t()).t()


class _OneDnn(torch.autograd.Function):
    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        return multiply(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, to_output: Tensor
    ) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        to_x = multiply(to_output, weight.t()) if ctx.needs_input_grad[0] else None
        to_output, x = to_output.flatten(0, -2), x.flatten(0, -2)
        to_weight = multiply_transposed(to_output, x) if ctx.needs_input_grad[1] else None
        to_bias = to_output.sum(0) if ctx.needs_input_grad[2] else None
        return to_x, to_weight, to_bias


def _is_large(x: Float[Tensor, "*P before"], weight: Float[Tensor, "after before"]) -> bool:
    """Whether oneDNN would be worthwhile; compiled code must not hang on the sizes."""
    return not torch.compiler.is_compiling() and x.numel() * weight.size(0) >= WORTHWHILE


def _suits_onednn(x: Tensor) -> bool:
    """Whether it should multiply instead of MKL, in fp32."""
    return x.dtype == torch.float32 and _is_eager(x) and _onednn_is_faster()


def _is_narrow(x: Tensor) -> bool:
    """Whether it will multiply in any case, in bf16."""
    return x.dtype == torch.bfloat16 and _is_eager(x) and _onednn_has_bf16()


def _is_eager(x: Tensor) -> bool:
    # Not where x is traced, for what is exported must run where there is no oneDNN.
    return (
        x.is_cpu
        and not torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]
        and x.dim() > 1
        and x.numel() > 0
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()  # which chooses by itself
    )


@cache
def _onednn_has_bf16() -> bool:
    """Whether the product of ``multiply`` is there, and in bf16."""
    return multiplies_bf16() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


@cache
def _onednn_is_faster() -> bool:
    """Whether this is a processor on which MKL is slow and PyTorch was built with oneDNN."""
    if not (
        torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    ):
        return False
    if "AVX512" not in torch.backends.cpu.get_cpu_capability():
        return False
    try:
        return "AuthenticAMD" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
