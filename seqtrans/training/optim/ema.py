"""Averages of the weights, with which a model is validated and used."""

from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

from seqtrans.errors import CheckpointError
from seqtrans.tensor_types import Tensor
from seqtrans.training.checkpoints.weights import differences
from seqtrans.training.distributed.sharded_tensors import assign, own_part


class Average(ABC):
    """Averages of a model's parameters; buffers are not averaged: those of the model are used."""

    def __init__(self, model: nn.Module) -> None:
        # Of parts, only this process's own: operations on many tensors at once know no DTensor.
        self.parameters = [own_part(p.detach()) for p in model.parameters()]

    @abstractmethod
    def named(self) -> dict[str, Tensor]:
        """Return averages by parameter name, in the order of the model's parameters."""

    @contextmanager
    def applied(self) -> Generator[None]:
        """Let the model hold the averages within this context."""
        weights = [p.clone() for p in self.parameters]
        # Values are copied, storages stay: recurrent kernels and DDP hold on to them.
        averages = [own_part(average) for average in self.named().values()]
        torch._foreach_copy_(self.parameters, averages)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
        try:
            yield
        finally:
            torch._foreach_copy_(self.parameters, weights)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]


class MovingAverage(Average):
    """Exponential moving averages, updated after every step.

    After step n the average moves by ``1 - min(decay, (1 + n) / (10 + n))`` towards the
    weights, so that the first steps do not hang on to the random start.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model)
        self.decay = decay
        self._averages = {name: p.detach().clone() for name, p in model.named_parameters()}
        self._parts = [own_part(average) for average in self._averages.values()]

    def update(self, step: int) -> None:
        """Take in the weights after step ``step`` (from 1)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._parts, self.parameters, 1.0 - decay)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]

    @torch.no_grad()
    def restore(self, stored: Mapping[str, Tensor], origin: str) -> None:
        """Undo ``named``; buffers in ``stored`` are passed over.

        Raises:
            CheckpointError: An average is missing or misshapen.
        """
        averages = self.named()
        if problems := differences({n: t for n, t in stored.items() if n in averages}, averages):
            raise CheckpointError(f"{origin} does not fit this model: {problems}")
        for name, average in averages.items():
            assign(average, stored[name])

    def named(self) -> dict[str, Tensor]:
        """See ``Average.named``."""
        return dict(self._averages)
