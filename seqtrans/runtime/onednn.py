"""Capabilities of oneDNN, PyTorch's library for CPUs, on this processor."""

from functools import cache

import torch


@cache
def multiplies_bf16() -> bool:
    """Return whether oneDNN is available and multiplies bf16 here, natively or through fp32."""
    has = torch.backends.mkldnn.is_available()
    return has and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
