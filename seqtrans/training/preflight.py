"""Check in seconds, before hours of training, that the run can do what it will."""

import logging
import shutil
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import NamedTuple

import torch
from torch import nn

from seqtrans.errors import TrainingError
from seqtrans.protocols import Batch, BatchT, Task
from seqtrans.runtime.device import autocast, reproducible, uses_bf16
from seqtrans.runtime.memory import peak_memory
from seqtrans.runtime.out_of_memory import is_out_of_memory, release
from seqtrans.training.checkpoints.run_directory import RunDirectory
from seqtrans.training.checkpoints.weights import named_weights, other_formats
from seqtrans.training.config import TrainingConfig
from seqtrans.training.distributed.process_group import TorchProcessGroup
from seqtrans.training.distributed.sharded_tensors import in_parts
from seqtrans.training.distributed.single_process import SINGLE_PROCESS
from seqtrans.training.oom import MicroBatchSizeLimits
from seqtrans.training.optim.optimizer import moments_per_weight
from seqtrans.training.optim.schedule_advice import warn_of_rates
from seqtrans.training.prepare import Prepared

logger = logging.getLogger(__name__)

_SHOWN = 5


class PreflightResult(NamedTuple):
    """Size, time and memory of the largest batch, or of the largest part of it that fits."""

    targets: int  # of the batch
    fitting: int  # of those, how many were computed at once
    seconds: float  # forward and backward
    memory: int  # peak in bytes; on the CPU, of the process since it started
    unused: tuple[str, ...]  # parameters that no gradient reaches, but for those that are frozen


def check(prepared: Prepared, config: TrainingConfig, run: RunDirectory) -> None:
    """Try once what training will do for hours: its largest batch, validation, checkpoints.

    Every process must call it. If memory runs out in one while weights are sharded, the others
    wait for it in vain, as in training.

    Raises:
        TrainingError: Memory or disk space will not do, or several processes can't train a part of
            the model.
    """
    task, model, group = prepared.task, prepared.model, prepared.group
    if group.rank == 0:
        warn_of_rates(config, prepared.updates_in, logger.warning)
    check_room(run, model, config)
    sizes = MicroBatchSizeLimits(run.sizes)
    sizes.read(group)
    largest = try_largest_batch(task, model, config, group, sizes, _last_step(run))
    logger.info(
        "largest batch: %s %s in %.2f s, %s MB",
        f"{largest.targets:,}",
        task.unit,
        largest.seconds,
        f"{largest.memory / 1e6:,.0f}",
    )
    check_used(largest.unused, group.world_size)
    if largest.fitting < largest.targets:
        logger.warning(
            "only %s of them fit into memory at once: what is larger will be computed in parts",
            f"{largest.fitting:,}",
        )
    if prepared.rehearse:
        prepared.rehearse(group)


def _last_step(run: RunDirectory) -> int | None:
    """Return the number of updates done before; None if the run is new."""
    steps = run.steps()
    return max(steps, default=0) if steps or run.sizes.exists() else None


def try_largest_batch(
    task: Task[BatchT],
    model: nn.Module,
    config: TrainingConfig,
    group: TorchProcessGroup = SINGLE_PROCESS,
    sizes: MicroBatchSizeLimits | None = None,
    step: int | None = None,
) -> PreflightResult:
    """Run one forward and backward pass on the batch that needs the most memory.

    If it does not fit, half of it is tried, and so on, as training will split it. Weights, buffers
    and the random state are restored; there is no gradient. If weights are sharded, every process
    must call it, for the same batch.

    Args:
        task: The task.
        model: The model, on the device of the training.
        config: The training config.
        group: The process group.
        sizes: Known limits: nothing larger is tried.
        step: Updates done before in a resumed run; None in a new one.

    Raises:
        TrainingError: Not even the smallest part fits into memory; or, if weights are sharded, the
            first that was tried.
    """
    device = next(model.parameters()).device
    batch, sizes = task.largest_batch(), sizes or MicroBatchSizeLimits(None)
    part = max(sizes.parts(batch, sys.maxsize), key=lambda part: part.size)
    is_sharded = in_parts(model)
    with untouched(model):
        began = time.monotonic()
        while (unused := _fits(task, model, config, part)) is None:
            release()
            smaller, *others = part.halves()
            if is_sharded and others:
                raise _undivided(part, sizes, step)
            part = smaller
            if not others:
                raise TrainingError(
                    f"of the largest batch, of {batch.num_targets} targets, not even "
                    f"{part.num_targets} fit into memory; leave out long sentences, or take "
                    "smaller images or a smaller model"
                )
            began = time.monotonic()
        group.await_device(device)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = time.monotonic() - began
    return PreflightResult(batch.num_targets, part.num_targets, seconds, peak_memory(), unused)


def _undivided(part: Batch, sizes: MicroBatchSizeLimits, step: int | None) -> TrainingError:
    """Return the error that memory ran out while others wait for weights; see ``OomRecovery``."""
    cause = (
        f"the largest batch, of {part.num_targets} targets, does not fit into memory, and where "
        "weights are shared out processes can't try a part of it: "
    )
    if step is None:
        return TrainingError(f"{cause}take smaller batches, or more processes")
    limit = sizes.record_locally(step, part.size)
    return TrainingError(
        f"{cause}go on with --resume, by which what is larger than {limit:,} is divided"
    )


def check_used(unused: Sequence[str], processes: int) -> None:
    """Log which parameters never learn, as no gradient reaches them.

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
    logger.info("the loss does not depend on these, which won't learn: %s", shown)


def batch_fits(
    task: Task[BatchT], model: nn.Module, config: TrainingConfig, reserved: int = 0
) -> bool:
    """Return whether memory holds the largest batch and ``reserved`` bytes besides."""
    device = next(model.parameters()).device
    with untouched(model):
        try:
            ballast = torch.empty(reserved, dtype=torch.uint8, device=device)
            fits = _fits(task, model, config, task.largest_batch()) is not None
            del ballast
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            fits = False
    release()
    return fits


def reserved_memory(model: nn.Module, config: TrainingConfig) -> int:
    """Return about how many bytes training keeps besides weights, gradients and activations."""
    trained = sum(p.nbytes for p in model.parameters() if p.requires_grad)
    average = sum(p.nbytes for p in model.parameters()) if config.ema_decay else 0
    return int(trained * moments_per_weight(config.optimizer)) + average


def _fits(
    task: Task[BatchT], model: nn.Module, config: TrainingConfig, batch: BatchT
) -> tuple[str, ...] | None:
    """Return the parameters that no gradient reaches; None if memory can't hold both passes."""
    device = next(model.parameters()).device
    try:
        with reproducible(device, wanted=config.deterministic):
            with autocast(bf16=uses_bf16(config.precision, device), device=device):
                sums = task.loss_sums(model, batch.to(device))
            sums.loss.backward()
        return tuple(_unused(model, config.freeze))
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
    finally:
        model.zero_grad(set_to_none=True)
    return None


def check_room(run: RunDirectory, model: nn.Module, config: TrainingConfig) -> None:
    """Check that all checkpoints of a run fit on its disk.

    Raises:
        TrainingError: They don't fit.
    """
    wanted = config.checkpoints
    count = wanted.keep_best + wanted.keep_last + 1  # the one being written
    count += 1 if wanted.average_best or wanted.average_last else 0
    count += (config.max_epochs or 0) if wanted.keep_every_epoch else 0
    check_disk_space(run, checkpoint_size(model, config), count)


def checkpoint_size(model: nn.Module, config: TrainingConfig) -> int:
    """Return about how many bytes a checkpoint has."""
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


@contextmanager
def untouched(model: nn.Module) -> Generator[None]:
    """Let ``model`` train within this context; restore its buffers and modes, drop gradients."""
    device = next(model.parameters()).device
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    modes = [(module, module.training) for module in model.modules()]
    devices = [device] if device.type == "cuda" else []
    model.train()
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        model.zero_grad(set_to_none=True)
        for module, mode in modes:  # parts that are frozen stay in evaluation mode
            module.training = mode
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(buffers[name])


def check_disk_space(run: RunDirectory, checkpoint_bytes: int, count: int) -> None:
    """Check that the checkpoints of a run will fit on its disk.

    Args:
        run: The run directory; its checkpoints count as free space.
        checkpoint_bytes: Size of one.
        count: How many there will be at a time, the one being written included.

    Raises:
        TrainingError: They won't fit.
    """
    free = shutil.disk_usage(run.path).free
    held = sum(file.stat().st_size for file in run.checkpoints.rglob("*") if file.is_file())
    if free + held < count * checkpoint_bytes:
        raise TrainingError(
            f"{run.path}: {count} checkpoints of {_size(checkpoint_bytes)} need "
            f"{_size(count * checkpoint_bytes)}, but only {_size(free + held)} are "
            "free; free some, or lower checkpoints.keep_best or keep_last"
        )


def _size(size: float) -> str:
    """Return bytes in a readable unit: ``12 kB``, ``3.4 GB``."""
    unit, *larger = ("bytes", "kB", "MB", "GB", "TB")
    while size >= 999.5 and larger:
        size, unit, larger = size / 1000, larger[0], larger[1:]
    return f"{size:.3g} {unit}"
