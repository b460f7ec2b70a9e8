"""What oneDNN, which computes for PyTorch on processors, can do on this one."""

from functools import cache

import torch


@cache
def multiplies_bf16() -> bool:
    """Whether PyTorch was built with it and it has products of bf16 here, be it by way of fp32."""
    has = torch.backends.mkldnn.is_available()
    return has and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
