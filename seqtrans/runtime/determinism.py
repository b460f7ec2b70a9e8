"""Only what gives the same bits again, so that a resumed run is the one that was stopped."""

import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch

from seqtrans.errors import TrainingError

VARYING = frozenset({"cuda"})
"""Kinds of devices that add numbers up in whatever order they come, where not told otherwise. On a
CPU all that is used here adds in one order."""
_MISSING = re.compile(r"(\S+) does not have a deterministic implementation")


@contextmanager
def reproducible(device: torch.device, *, wanted: bool) -> Generator[None]:
    """Within, what ``device`` computes is a function of what it is given.

    Convolutions and attention are slower for it. What torch is set to otherwise is put back.

    Args:
        device: Where it is computed.
        wanted: False: nothing is changed.

    Raises:
        TrainingError: There is no such way to compute something.
    """
    if not wanted or device.type not in VARYING:
        yield
        return
    strict = torch.are_deterministic_algorithms_enabled()
    lenient = torch.is_deterministic_algorithms_warn_only_enabled()
    settings: Any = torch.utils.deterministic  # untyped there
    fills = settings.fill_uninitialized_memory
    torch.use_deterministic_algorithms(mode=True)
    settings.fill_uninitialized_memory = False  # all of it is written before it is read
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
    """What to say where torch refused to compute something; None: it failed otherwise."""
    said = str(error)
    missing = _MISSING.search(said)
    if not missing and "CUBLAS_WORKSPACE_CONFIG" not in said:
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
