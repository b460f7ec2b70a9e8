"""Seconds of checking before hours of training."""

import logging
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import NamedTuple

import torch
from torch import nn

from seqtrans.errors import TrainingError
from seqtrans.protocols import BatchT, Task
from seqtrans.training.config import TrainingConfig
from seqtrans.training.memory import prepare_memory
from seqtrans.training.optimizer import moments_per_weight
from seqtrans.training.precision import autocast, uses_bf16
from seqtrans.training.run_directory import RunDirectory, check_disk_space
from seqtrans.training.weights import named_weights, other_formats
from seqtrans.training.window import peak_memory

talk = logging.getLogger(__name__)

_SHOWN = 5
_OUT_OF_MEMORY = ("not enough memory", "can't allocate memory", "Storage size calculation overflow")


class Rehearsal(NamedTuple):
    """What the largest batch took."""

    targets: int
    seconds: float  # forward and backward
    memory: int  # bytes at the peak; on the CPU of the whole process so far
    unused: tuple[str, ...]  # parameters that no gradient reaches, but for those that are frozen


def try_largest_batch(task: Task[BatchT], model: nn.Module, config: TrainingConfig) -> Rehearsal:
    """One forward and backward pass on the batch that needs the most memory.

    Weights, buffers and the random state are afterwards as they were; there is no gradient.

    Raises:
        TrainingError: It does not fit into memory.
    """
    prepare_memory()  # this is the first that a run computes
    device = next(model.parameters()).device
    batch = task.largest_batch()
    began = time.monotonic()
    with untouched(model):
        try:
            with autocast(bf16=uses_bf16(config.precision, device), device=device):
                sums = task.loss_sums(model, batch.to(device))
            sums.loss.backward()
            unused = tuple(_unused(model, config.freeze))
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise TrainingError(
                f"the largest batch, of {batch.num_targets} targets, does not fit into memory; "
                "make batches smaller and raise training.accumulate as much"
            ) from error
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return Rehearsal(batch.num_targets, time.monotonic() - began, peak_memory(), unused)


def check_used(unused: Sequence[str], processes: int) -> None:
    """Say which parameters never learn, as no gradient reaches them.

    Raises:
        TrainingError: There are some, and several processes, which would wait for their gradients.
    """
    if not unused:
        return
    shown = ", ".join(unused[:_SHOWN]) + (
        f" and {len(unused) - _SHOWN} more" * (len(unused) > _SHOWN)
    )
    if processes > 1:
        raise TrainingError(
            f"the loss does not depend on {shown}: several processes can't average gradients that "
            "there are not; name them in training.freeze"
        )
    talk.info("the loss does not depend on these, which won't learn: %s", shown)


def check_room(run: RunDirectory, model: nn.Module, config: TrainingConfig) -> None:
    """Make sure that all checkpoints of a run fit on its disk.

    Raises:
        TrainingError: They don't.
    """
    wanted = config.checkpoints
    count = wanted.keep_best + wanted.keep_last + 1  # the one being written
    count += 1 if wanted.average_best else 0
    count += (config.max_epochs or 0) if wanted.keep_every_epoch else 0
    check_disk_space(run, checkpoint_size(model, config), count)


def checkpoint_size(model: nn.Module, config: TrainingConfig) -> int:
    """Bytes of one checkpoint, about."""
    weights = sum(tensor.nbytes for tensor in named_weights(model).values())
    trained = sum(p.nbytes for p in model.parameters() if p.requires_grad)
    average = weights if config.ema_decay else 0
    others = weights * len(other_formats(model))
    return weights + average + others + trained * moments_per_weight(config.optimizer)


def _unused(model: nn.Module, frozen: Sequence[str]) -> Iterator[str]:
    for name, parameter in model.named_parameters():
        is_frozen = any(fnmatchcase(name, pattern) for pattern in frozen)
        if parameter.requires_grad and parameter.grad is None and not is_frozen:
            yield name


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: on a device, in torch or in numpy."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    said = str(error)
    return any(words in said for words in _OUT_OF_MEMORY)


@contextmanager
def untouched(model: nn.Module) -> Generator[None]:
    """Within, ``model`` is as in training; afterwards it is as it was, and has no gradient."""
    device = next(model.parameters()).device
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    was_training = model.training
    devices = [device] if device.type == "cuda" else []
    model.train()
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        model.train(was_training)
        model.zero_grad(set_to_none=True)
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(buffers[name])
