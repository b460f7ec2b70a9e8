"""Seconds of checking before hours of training."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import nn

from seqtrans.errors import TrainingError
from seqtrans.protocols import BatchT, Task
from seqtrans.training.config import TrainingConfig
from seqtrans.training.memory import is_out_of_memory, prepare_memory, release
from seqtrans.training.optimizer import moments_per_weight
from seqtrans.training.precision import autocast, uses_bf16
from seqtrans.training.run_directory import RunDirectory, check_disk_space
from seqtrans.training.weights import named_weights, other_formats
from seqtrans.training.window import peak_memory


class Rehearsal(NamedTuple):
    """What the largest batch took, or the largest part of it that fits."""

    targets: int  # of the batch
    fitting: int  # of those, how many were computed at once
    seconds: float  # forward and backward
    memory: int  # bytes at the peak; on the CPU of the whole process so far


def try_largest_batch(task: Task[BatchT], model: nn.Module, config: TrainingConfig) -> Rehearsal:
    """One forward and backward pass on the batch that needs the most memory.

    Where it does not fit, half of it is tried, and so on, as training will divide it. Weights,
    buffers and the random state are afterwards as they were; there is no gradient.

    Raises:
        TrainingError: Not even the smallest part fits into memory.
    """
    prepare_memory()  # this is the first that a run computes
    device = next(model.parameters()).device
    part = batch = task.largest_batch()
    with _untouched(model, device):
        began = time.monotonic()
        while not _fits(task, model, config, part):
            release()
            part, *others = part.halves()
            if not others:
                raise TrainingError(
                    f"of the largest batch, of {batch.num_targets} targets, not even "
                    f"{part.num_targets} fit into memory; leave out long sentences, or take "
                    "smaller images or a smaller model"
                )
            began = time.monotonic()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = time.monotonic() - began
    return Rehearsal(batch.num_targets, part.num_targets, seconds, peak_memory())


def batch_fits(
    task: Task[BatchT], model: nn.Module, config: TrainingConfig, reserved: int = 0
) -> bool:
    """Whether memory holds the largest batch, and so many bytes besides; see ``Rehearsal``."""
    device = next(model.parameters()).device
    with _untouched(model, device):
        try:
            ballast = torch.empty(reserved, dtype=torch.uint8, device=device)
            found = _fits(task, model, config, task.largest_batch())
            del ballast
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            found = False
    release()
    return found


def reserved_memory(model: nn.Module, config: TrainingConfig) -> int:
    """Bytes that training keeps besides weights, gradients and activations, about."""
    trained = sum(p.nbytes for p in model.parameters() if p.requires_grad)
    average = sum(p.nbytes for p in model.parameters()) if config.ema_decay else 0
    return int(trained * moments_per_weight(config.optimizer)) + average


def _fits(task: Task[BatchT], model: nn.Module, config: TrainingConfig, batch: BatchT) -> bool:
    """Whether memory holds a forward and a backward pass; on return all of them is gone."""
    device = next(model.parameters()).device
    try:
        with autocast(bf16=uses_bf16(config.precision, device), device=device):
            sums = task.loss_sums(model, batch.to(device))
        sums.loss.backward()
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    finally:
        model.zero_grad(set_to_none=True)
    return True


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


@contextmanager
def _untouched(model: nn.Module, device: torch.device) -> Generator[None]:
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    was_training = model.training
    devices = [device] if device.type == "cuda" else []
    model.train()
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        model.train(was_training)
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(buffers[name])
