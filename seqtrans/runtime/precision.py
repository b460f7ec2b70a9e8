"""Precision of forward passes: fp32 or bf16 autocast."""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

from seqtrans.runtime.onednn import multiplies_bf16

Precision = Literal["auto", "fp32", "bf16"]


def uses_bf16(precision: Precision, device: torch.device) -> bool:
    """Return whether ``precision`` means bf16 autocast on ``device``.

    ``auto`` does if the processor multiplies bf16 matrices natively; by way of fp32 it would be
    slower than fp32 alone. Weights and optimizer stay in fp32, and bf16 has the range of fp32, so
    no loss scaling is needed.

    On a processor without bf16 ``bf16`` means fp32; see ``substitution``.
    """
    if precision == "auto":
        return _has_bf16(device)
    return precision == "bf16" and not substitution(precision, device)


def substitution(precision: Precision, device: torch.device) -> str:
    """Return a warning if another precision is used than was requested, else an empty string.

    In bf16 a product would take 28 times as long as in fp32 (Zen 3, torch 2.13), and oneDNN
    refuses an LSTM.
    """
    if precision == "bf16" and device.type == "cpu" and not multiplies_bf16():
        return "this processor has no bf16: computing in fp32 instead, which is faster here"
    return ""


def autocast(*, bf16: bool, device: torch.device) -> AbstractContextManager[object]:
    """Return the context for forward passes; run backward passes outside of it."""
    return torch.autocast(device.type, torch.bfloat16) if bf16 else nullcontext()


def _has_bf16(device: torch.device) -> bool:
    match device.type:
        case "cpu":  # torch has no public function for this (2.13)
            asks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
            return any(bool(getattr(torch.cpu, ask, bool)()) for ask in asks)
        case "cuda":
            return torch.cuda.is_bf16_supported(including_emulation=False)
        case _:
            return False
