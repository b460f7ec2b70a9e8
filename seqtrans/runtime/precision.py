"""In which arithmetic a forward pass runs."""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

from seqtrans.runtime.onednn import multiplies_bf16

Precision = Literal["auto", "fp32", "bf16"]


def uses_bf16(precision: Precision, device: torch.device) -> bool:
    """Whether ``precision`` means bf16 autocast on ``device``.

    ``auto`` does where the processor multiplies bf16 matrices itself, instead of by way of
    fp32, which would be slower than fp32 alone. Weights and optimizer stay in fp32, and bf16
    has its range, so there is no loss scaling.

    Where a processor has nothing to do ``bf16`` with it is fp32; see ``substitution``.
    """
    if precision == "auto":
        return _has_bf16(device)
    return precision == "bf16" and not substitution(precision, device)


def substitution(precision: Precision, device: torch.device) -> str:
    """What is to be said where another arithmetic is taken than was asked for; else nothing.

    In bf16 a product would take 28 times as long as in fp32 (Zen 3, torch 2.13), and oneDNN
    refuses an LSTM.
    """
    if precision == "bf16" and device.type == "cpu" and not multiplies_bf16():
        return "this processor has no bf16: computing in fp32 instead, which is faster here"
    return ""


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
