"""The mean of several checkpoints."""

from collections.abc import Sequence
from pathlib import Path

import torch

from seqtrans.errors import CheckpointError
from seqtrans.tensor_types import Tensor
from seqtrans.training.checkpoints.format import read_inference_weights
from seqtrans.training.checkpoints.weights import differences


def average(paths: Sequence[Path]) -> dict[str, Tensor]:
    """Mean weights by name, summed in fp64 one checkpoint at a time (arXiv:1706.03762, 6.1).

    Where moving averages were kept, those are averaged. Integer buffers, which count
    something, are those of the first checkpoint.

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


def _mean(first: Tensor, total: Tensor, count: int) -> Tensor:
    if not torch.is_floating_point(first):
        return first
    return (total / count).to(first.dtype)
