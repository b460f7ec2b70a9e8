"""Weights and optimizer state by name: read from a model, copied into one, averaged."""

from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.optim import Optimizer

from seqtrans.errors import CheckpointError
from seqtrans.protocols import SavesOtherwise
from seqtrans.tensor_types import Int, Tensor
from seqtrans.training.checkpoints.format import read_inference_weights
from seqtrans.training.distributed.sharded_tensors import assign, part_of

SHOWN_PROBLEMS = 5


class RowMap(NamedTuple):
    """Which rows of a stored tensor become which rows of a new one."""

    stored: Int[Tensor, " N"]
    new: Int[Tensor, " N"]


def named_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return parameters and persistent buffers by name, sharing memory with ``model``.

    A tied weight is listed once, under its first name, because safetensors refuses storage
    that two tensors share.
    """
    persistent = model.state_dict(keep_vars=True).keys()
    tensors = (*model.named_parameters(), *model.named_buffers())
    return {name: tensor.detach() for name, tensor in tensors if name in persistent}


def other_formats(model: nn.Module) -> Mapping[str, Callable[[Path], None]]:
    """Return writers of the model's own file formats by file name; usually none."""
    return model.other_formats() if isinstance(model, SavesOtherwise) else {}


@torch.no_grad()
def fill(model: nn.Module, stored: Mapping[str, Tensor], origin: str) -> None:
    """Copy stored tensors into ``model``.

    Args:
        model: What to fill.
        stored: Exactly the tensors of ``named_weights(model)``, anywhere and in any precision.
        origin: Where they are from, for the error.

    Raises:
        CheckpointError: Tensors are missing, unexpected or misshapen; ``model`` is as it was.
    """
    wanted = named_weights(model)
    if problems := differences(stored, wanted):
        raise CheckpointError(f"{origin} does not fit this model: {problems}")
    for name, tensor in wanted.items():
        assign(tensor, stored[name])


@torch.no_grad()
def carry_over(
    model: nn.Module, stored: Mapping[str, Tensor], rows: Mapping[str, RowMap], origin: str
) -> dict[str, int]:
    """Start ``model`` from the weights of one with another vocabulary.

    Args:
        model: What to fill; rows that nothing is carried into keep their fresh values.
        stored: The other model's weights by name.
        rows: By name of each tensor with one row per vocabulary entry, the rows to carry.
            All others must be the same in both models.
        origin: Where ``stored`` is from, for the error.

    Returns:
        How many rows were carried, by name of tensor.

    Raises:
        CheckpointError: Anything but the number of those rows differs.
    """
    wanted = named_weights(model)
    if unknown := rows.keys() - wanted.keys():
        raise CheckpointError(f"{origin}: this model has no {', '.join(sorted(unknown))}")
    same = {n: t for n, t in stored.items() if n not in rows}
    problems = differences(same, {n: t for n, t in wanted.items() if n not in rows})
    problems = problems or _row_problems(stored, wanted, rows)
    if problems:
        raise CheckpointError(f"{origin} does not fit this model: {problems}")
    for name, tensor in same.items():
        wanted[name].copy_(tensor)
    for name, row_map in rows.items():
        wanted[name][row_map.new] = stored[name][row_map.stored].to(wanted[name])
    return {name: len(row_map.new) for name, row_map in rows.items()}


@contextmanager
def holding(model: nn.Module, weights: Mapping[str, Tensor]) -> Generator[None]:
    """Let ``model`` hold other weights of the same names and shapes within this context."""
    previous = {name: tensor.clone() for name, tensor in named_weights(model).items()}
    fill(model, weights, "the mean of checkpoints")
    try:
        yield
    finally:
        fill(model, previous, "the model before")


# Not torch.distributed.checkpoint.state_dict (torch 2.13): to read an optimizer that has not
# stepped, it takes a step with rate 0 and so adds state; it refuses a checkpoint without state of
# parameters that begin to learn later; it lists tied weights twice, which safetensors refuses; its
# import takes 1.3 s and 700 modules, which translating would pay, too. Memory is the same.
def named_moments(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """Return the state of the optimizer by name: ``exp_avg:<parameter name>``."""
    return {
        f"{key}:{name}": value
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
        if value is not None
    }


def restore_moments(
    model: nn.Module, optimizer: Optimizer, stored: Mapping[str, Tensor], origin: str
) -> None:
    """Undo ``named_moments`` on a fresh optimizer for the same parameters.

    Raises:
        CheckpointError: A tensor belongs to no parameter that this optimizer trains.
    """
    parameters = dict(model.named_parameters())
    by_name: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for key, tensor in stored.items():
        moment, _, name = key.partition(":")
        parameter = parameters.get(name)
        is_like = parameter is not None and parameter.shape == tensor.shape
        by_name[name][moment] = part_of(tensor, like=parameter) if is_like else tensor
    names = list(_trained_names(model, optimizer))
    if unknown := by_name.keys() - set(names):
        example = min(unknown)
        raise CheckpointError(f"{origin} trained {example}, which is not trained here")
    # load_state_dict knows which optimizer keeps which tensor on which device.
    state = {i: by_name[name] for i, name in enumerate(names) if name in by_name}
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )


def average(paths: Sequence[Path]) -> dict[str, Tensor]:
    """Return mean weights by name, summed in fp64 (arXiv:1706.03762, 6.1).

    Of checkpoints with a moving average, that is averaged. Integer buffers, which count something,
    are those of the first checkpoint. One checkpoint at a time is in memory.

    Raises:
        CheckpointError: There is no checkpoint, one is damaged, or they are not of one model.
    """
    if not paths:
        raise CheckpointError("there are no checkpoints to average")
    first = read_inference_weights(paths[0])
    sums = {name: tensor.double() for name, tensor in first.items()}
    for path in paths[1:]:
        weights = read_inference_weights(path)
        if problems := differences(weights, first):
            raise CheckpointError(f"{path} is not of the model in {paths[0]}: {problems}")
        for name, tensor in weights.items():
            sums[name] += tensor
    return {name: _mean(first[name], total, len(paths)) for name, total in sums.items()}


def differences(stored: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """Return a message on names and shapes that differ; an empty string if none do."""
    parts = [f"missing {n}" for n in sorted(wanted.keys() - stored.keys())]
    parts += [f"unexpected {n}" for n in sorted(stored.keys() - wanted.keys())]
    parts += [
        f"{n} is {_size(stored[n])}, not {_size(wanted[n])}"
        for n in sorted(stored.keys() & wanted.keys())
        if stored[n].shape != wanted[n].shape
    ]
    return _listed(parts)


def _row_problems(
    stored: Mapping[str, Tensor], wanted: Mapping[str, Tensor], rows: Iterable[str]
) -> str:
    parts = [f"missing {n}" for n in rows if n not in stored]
    parts += [
        f"rows of {n} are {_size(stored[n][0])}, not {_size(wanted[n][0])}"
        for n in rows
        if n in stored and stored[n].shape[1:] != wanted[n].shape[1:]
    ]
    return _listed(parts)


def _size(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"


def _listed(parts: list[str]) -> str:
    more = len(parts) - SHOWN_PROBLEMS
    return "; ".join(parts[:SHOWN_PROBLEMS]) + (f"; and {more} more" if more > 0 else "")


def _trained_names(model: nn.Module, optimizer: Optimizer) -> Iterator[str]:
    names = {parameter: name for name, parameter in model.named_parameters()}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            yield names[parameter]


def _mean(first: Tensor, total: Tensor, count: int) -> Tensor:
    if not torch.is_floating_point(first):
        return first
    return (total / count).to(first.dtype)
