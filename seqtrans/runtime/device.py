"""Device and precision of a trained model."""

import logging
from typing import Literal, get_args

import torch
from torch import nn

from seqtrans.errors import SeqtransError
from seqtrans.runtime.forks import prepare_for_forks
from seqtrans.runtime.precision import Precision, substitution, uses_bf16
from seqtrans.tensor_types import Tensor

logger = logging.getLogger(__name__)

DeviceName = Literal["auto", "cpu", "cuda"]


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
