"""In which arithmetic a forward pass runs."""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

Precision = Literal["auto", "fp32", "bf16"]


def uses_bf16(precision: Precision, device: torch.device) -> bool:
    """Whether ``precision`` means bf16 autocast on ``device``.

    ``auto`` does where the processor multiplies bf16 matrices itself, instead of by way of
    fp32, which would be slower than fp32 alone. Weights and optimizer stay in fp32, and bf16
    has its range, so there is no loss scaling.
    """
    if precision == "auto":
        return _has_bf16(device)
    return precision == "bf16"


def autocast(*, bf16: bool, device: torch.device) -> AbstractContextManager[object]:
    """The context in which to run forward passes; backward runs outside."""
    return torch.autocast(device.type, torch.bfloat16) if bf16 else nullcontext()


def _has_bf16(device: torch.device) -> bool:
    match device.type:
        case "cpu":  # torch has no public question for this (2.13)
            asks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
            return any(bool(getattr(torch.cpu, ask, bool)()) for ask in asks)
        case "cuda":
            return torch.cuda.is_bf16_supported(including_emulation=False)
        case _:
            return False
