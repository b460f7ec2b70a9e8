"""Matrix products by the library that is faster on this machine, MKL or oneDNN."""

from functools import cache
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

from seqtrans.runtime.device import multiplies_bf16
from seqtrans.tensor_types import Float, Tensor

WORTHWHILE = 1 << 24
"""Minimum number of multiplications in a product to use oneDNN while training.

Its gradient is computed in Python, which takes some 0.1 ms (Zen 4), as long as such a product.
"""

_OUT_OF_MEMORY = "could not create a primitive"


class Linear(nn.Linear):
    """``nn.Linear`` computed by ``multiply``: the same map, weights and state."""

    def forward(self, input: Float[Tensor, "*P before"]) -> Float[Tensor, "*P after"]:
        """Apply the map to the last axis."""
        return linear(input, self.weight, self.bias)


def linear(
    x: Float[Tensor, "*P before"],
    weight: Float[Tensor, "after before"],
    bias: Float[Tensor, " after"] | None = None,
) -> Float[Tensor, "*P after"]:
    """Compute ``multiply`` with gradients."""
    if torch.is_grad_enabled():
        if _is_large(x, weight) and _suits_onednn(x):
            return cast("Tensor", _OneDnn.apply(x, weight, bias))
        return F.linear(x, weight, bias)
    by_onednn = _suits_onednn(x) or _is_narrow(x)
    missing = rounded_up(x.shape[:-1].numel()) - x.shape[:-1].numel() if by_onednn else 0
    if missing:  # rows of padding, dropped from the result
        padded = multiply(F.pad(x.flatten(0, -2), (0, 0, 0, missing)), weight, bias)
        return padded[:-missing].view(*x.shape[:-1], -1)
    return multiply(x, weight, bias)


def rounded_up(rows: int) -> int:
    """Return the number of rows to pad ``rows`` to for oneDNN, when gradients are off.

    Search keeps producing new numbers of rows. For each, oneDNN compiles code, which takes as long
    as a small product and stays in memory (0.4 MB; 600 MB after some 10,000 lines). With padding
    only 80 numbers remain of 1 to 4,096, larger by 1/16 or by 15 rows at most.
    """
    step = max(16, 1 << rows.bit_length() >> 5)
    return -(-rows // step) * step


def multiply(
    x: Float[Tensor, "*P before"],
    weight: Float[Tensor, "after before"],
    bias: Float[Tensor, " after"] | None = None,
) -> Float[Tensor, "*P after"]:
    """Return ``x @ weight.T + bias``, as ``F.linear``; without gradients if oneDNN computes it.

    In fp32 PyTorch uses MKL, which on AMD processors makes no use of AVX-512; oneDNN does and takes
    less than half the time (torch 2.13, Zen 5, single-threaded: 215 against 97 GFLOP/s). Only
    ``torch.compile`` uses it by default. In bf16 PyTorch uses it too, but first fills the output
    with the bias: with 256 features and 8,000 outputs that takes an eighth more time (Zen 4).
    """
    if _suits_onednn(x) or (bias is not None and _is_narrow(x)):
        product = torch.ops.mkldnn._linear_pointwise
        if not (weight.is_contiguous() or weight.t().is_contiguous()):
            weight = weight.contiguous()  # oneDNN takes seconds to reorder a matrix with gaps
        try:
            return cast("Tensor", product(x, weight, bias, "none", [], ""))
        except RuntimeError as error:
            if _OUT_OF_MEMORY not in str(error):
                raise  # out of memory, F.linear can still work, as it compiles no code
    return F.linear(x, weight, bias)


def multiply_transposed(
    a: Float[Tensor, "N before"], b: Float[Tensor, "N after"]
) -> Float[Tensor, "before after"]:
    """Return ``a.T @ b`` computed by ``multiply``, without gradients.

    In fp32 oneDNN reads the second factor of a product in any layout, but must copy the first,
    which is transposed here. So the narrower of the two comes first, and the result may be a
    transposed view.
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
    """Return whether oneDNN would be worthwhile; compiled code must not depend on the sizes."""
    return not torch.compiler.is_compiling() and x.numel() * weight.size(0) >= WORTHWHILE


def _suits_onednn(x: Tensor) -> bool:
    """Return whether oneDNN should multiply instead of MKL, in fp32."""
    return x.dtype == torch.float32 and _is_eager(x) and _onednn_is_faster()


def _is_narrow(x: Tensor) -> bool:
    """Return whether PyTorch uses oneDNN in any case, in bf16."""
    return x.dtype == torch.bfloat16 and _is_eager(x) and _onednn_has_bf16()


def _is_eager(x: Tensor) -> bool:
    # Not while x is traced: exported models must run without oneDNN.
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
    """Return whether torch has the operation of ``multiply``, and in bf16."""
    return multiplies_bf16() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


@cache
def _onednn_is_faster() -> bool:
    """Return whether MKL is slow on this processor and PyTorch was built with oneDNN."""
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
