"""Soft cap of logits (arXiv:2408.00118, section 2): ``cap * tanh(logits / cap)``."""

import torch

from seqtrans.tensor_types import Float, Tensor


def soft_capped(logits: Float[Tensor, "*P V"], cap: float) -> Float[Tensor, "*P V"]:
    """Return logits between ``-cap`` and ``cap``, in at least fp32."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return (wide / cap).tanh() * cap


def soft_cap_slope(capped: Float[Tensor, "*P V"], cap: float) -> Float[Tensor, "*P V"]:
    """Return the derivative of ``soft_capped``, given its result."""
    return 1 - (capped / cap).square()
