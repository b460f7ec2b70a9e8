"""Deterministic algorithms, so that a resumed run is equal to an uninterrupted one."""

import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch

from seqtrans.errors import TrainingError

VARYING = frozenset({"cuda"})
"""Types of devices whose default algorithms add in a varying order. On a CPU all operations used
here add in a fixed order."""
_MISSING = re.compile(r"(\S+) does not have a deterministic implementation")


@contextmanager
def reproducible(device: torch.device, *, wanted: bool) -> Generator[None]:
    """Use only deterministic algorithms on ``device`` within this context.

    Convolutions and attention are slower with them. The previous settings are restored on exit.

    Args:
        device: The device to compute on.
        wanted: If False, nothing is changed.

    Raises:
        TrainingError: An operation has no deterministic algorithm.
    """
    if not wanted or device.type not in VARYING:
        yield
        return
    strict = torch.are_deterministic_algorithms_enabled()
    lenient = torch.is_deterministic_algorithms_warn_only_enabled()
    settings: Any = torch.utils.deterministic  # untyped in torch
    fills = settings.fill_uninitialized_memory
    torch.use_deterministic_algorithms(mode=True)
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
