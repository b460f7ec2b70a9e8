"""Where and how to compute: device, precision, threads, deterministic algorithms."""

import logging
import os
import re
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache, partial
from typing import Any, Literal, get_args

import torch
from torch import nn

from seqtrans.errors import SeqtransError, TrainingError
from seqtrans.tensor_types import Tensor

logger = logging.getLogger(__name__)

DeviceName = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "fp32", "bf16"]

VARYING = frozenset({"cuda"})
"""Types of devices whose default algorithms add in a varying order. On a CPU all operations used
here add in a fixed order."""
_MISSING = re.compile(r"(\S+) does not have a deterministic implementation")


def place(model: nn.Module, device: DeviceName, precision: Precision) -> torch.device:
    """Prepare a model for inference: on a device, without dropout, in fp32 or bf16.

    Processes that are forked later can use it, too; see ``prepare_for_forks``.

    Args:
        model: Changed in place.
        device: ``auto`` is a GPU if there is one.
        precision: ``bf16`` rounds the weights, too; ``auto`` does where the processor
            multiplies bf16 matrices natively. See ``substitution`` for when fp32 is used.

    Raises:
        SeqtransError: There is no such device or precision.
    """
    prepare_for_forks()
    if precision not in get_args(Precision):
        raise SeqtransError(f"there is no precision {precision!r}: choose fp32, bf16 or auto")
    if device == "cuda" and not torch.cuda.is_available():
        raise SeqtransError("--device cuda: no usable GPU here; leave it out, or use cpu")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        where = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise SeqtransError(f"there is no device {device!r}: choose cpu, cuda or auto") from error
    if message := substitution(precision, where):
        logger.warning("%s", message)
    dtype = torch.bfloat16 if uses_bf16(precision, where) else torch.float32
    model.to(where, dtype).eval().requires_grad_(requires_grad=False)
    return where


def use_threads(count: int | None) -> None:
    """Set the number of threads that torch computes with; None leaves the default, all cores."""
    if count is not None:
        torch.set_num_threads(count)


def copy_to(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to ``device`` without waiting for work that is queued on a GPU."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        # From pageable memory the copy would first wait for everything queued on the stream.
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


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


@contextmanager
def reproducible(device: torch.device, *, wanted: bool) -> Generator[None]:
    """Use only deterministic algorithms on ``device`` within this context, or any.

    Convolutions and attention are slower with them. The previous settings are restored on exit.

    Args:
        device: The device to compute on.
        wanted: If False, any algorithm may be used, as by default.

    Raises:
        TrainingError: An operation has no deterministic algorithm.
    """
    if device.type not in VARYING:
        yield
        return
    strict = torch.are_deterministic_algorithms_enabled()
    lenient = torch.is_deterministic_algorithms_warn_only_enabled()
    settings: Any = torch.utils.deterministic  # untyped in torch
    fills = settings.fill_uninitialized_memory
    torch.use_deterministic_algorithms(mode=wanted)
    settings.fill_uninitialized_memory = False  # all memory is written before it is read
    try:
        yield
    except RuntimeError as error:
        refusal = _refusal(error)
        if refusal is None:
            raise
        raise refusal from error
    finally:
        torch.use_deterministic_algorithms(strict, warn_only=lenient)
        settings.fill_uninitialized_memory = fills


@cache
def prepare_for_forks() -> None:
    """Make all child processes that are forked from now on compute with one thread each.

    A fork copies only the calling thread. OpenMP in the child would wait forever for the threads
    of the parent; a single thread does not wait. To use more cores, start processes by ``spawn``.
    CUDA can't be used in a forked process: PyTorch raises an error.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))


def _has_bf16(device: torch.device) -> bool:
    match device.type:
        case "cpu":  # torch has no public function for this (2.13)
            asks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
            return any(bool(getattr(torch.cpu, ask, bool)()) for ask in asks)
        case "cuda":
            return torch.cuda.is_bf16_supported(including_emulation=False)
        case _:
            return False


@cache
def multiplies_bf16() -> bool:
    """Return whether oneDNN is available and multiplies bf16 here, natively or through fp32."""
    has = torch.backends.mkldnn.is_available()
    return has and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _refusal(error: RuntimeError) -> TrainingError | None:
    """Return an error for an operation without a deterministic algorithm, else None."""
    message = str(error)
    missing = _MISSING.search(message)
    if not missing and "CUBLAS_WORKSPACE_CONFIG" not in message:
        return None
    what = (
        f"{missing[1]} gives other bits each time"
        if missing
        else "cuBLAS may give other bits each time, unless CUBLAS_WORKSPACE_CONFIG is :4096:8"
    )
    return TrainingError(
        f"on this GPU {what}, so that a stopped run could not go on as the same; "
        "training.deterministic: false allows it"
    )
