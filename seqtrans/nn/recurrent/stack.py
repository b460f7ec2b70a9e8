"""Stacked recurrent layers, run over complete sequences or step by step."""

from typing import NamedTuple

import torch
from torch import nn

from seqtrans.nn.dropout import Dropout
from seqtrans.nn.module_list import Stack
from seqtrans.nn.recurrent.cells import Carry
from seqtrans.nn.recurrent.layers import Recurrence, RecurrentLayer
from seqtrans.tensor_types import Float, Tensor

StackCarry = tuple[Carry, ...]
"""The state of each layer, from the lowest to the highest."""


class StepDropout(NamedTuple):
    """Dropout factors of each layer for one step; None if dropout is off."""

    recurrent: tuple[Float[Tensor, "B 1 D"] | None, ...]
    output: tuple[Float[Tensor, "B 1 D"] | None, ...]


class RecurrentStack(nn.Module):
    """Left-to-right layers, each reading the states of the one below.

    Args:
        recurrence: Kind of layer.
        input_dim: Features of an input of the lowest layer.
        hidden_dim: Features of every layer's state.
        num_layers: Number of layers.
        residual: Add its input to the output of each layer above the lowest (arXiv:1609.08144).
        dropout: Probability of dropping a feature of a layer's output.
        locked_dropout: Drop the same features at every position.
        context_dim: Features of a context, which all layers but the lowest read, too.
    """

    def __init__(
        self,
        recurrence: Recurrence,
        input_dim: int,
        hidden_dim: int,
        num_layers: int,
        *,
        residual: bool = False,
        dropout: float = 0.0,
        locked_dropout: bool = False,
        context_dim: int = 0,
    ) -> None:
        super().__init__()
        self.residual = residual
        self.hidden_dim = hidden_dim
        self.dropout = Dropout(dropout, locked=locked_dropout)
        self.lowest = RecurrentLayer(recurrence, input_dim, hidden_dim)
        self.upper = Stack(
            RecurrentLayer(recurrence, hidden_dim + context_dim, hidden_dim)
            for _ in range(1, num_layers)
        )

    @property
    def num_parts(self) -> int:
        """Number of tensors in the state of all layers."""
        return self.lowest.cell.num_parts * (1 + len(self.upper))

    @property
    def gates_dim(self) -> int:
        """Features of the lowest layer's gates."""
        return self.lowest.cell.gates_dim

    def carry(self, parts: tuple[Float[Tensor, "*N D"], ...]) -> StackCarry:
        """Group ``num_parts`` tensors into the states of the layers."""
        each = self.lowest.cell.num_parts
        return tuple(parts[start : start + each] for start in range(0, len(parts), each))

    def forward(self, inputs: Float[Tensor, "B T I"], start: StackCarry) -> Float[Tensor, "B T D"]:
        """Return the top layer's output at every position; upper layers read no context."""
        return self.run_upper(self.run_lowest(inputs, start), start)

    def run_lowest(
        self, inputs: Float[Tensor, "B T I"], start: StackCarry
    ) -> Float[Tensor, "B T D"]:
        """Return the lowest layer's output at every position."""
        return self.dropout(self.lowest(inputs, start[0]))

    def run_upper(
        self,
        states: Float[Tensor, "B T D"],
        start: StackCarry,
        context: Float[Tensor, "B T C"] | None = None,
    ) -> Float[Tensor, "B T D"]:
        """Return the top layer's output at every position, given the lowest one's."""
        for layer, layer_start in zip(self.upper, start[1:], strict=True):
            above = self.dropout(layer(_joined(states, context), layer_start))
            states = states + above if self.residual else above
        return states

    def project(self, inputs: Float[Tensor, "*N I"]) -> Float[Tensor, "*N G"]:
        """Map inputs to their contribution to the lowest layer's gates, in one product."""
        return self.lowest.cell.project(inputs)

    def step(
        self, gates: Float[Tensor, "*N G"], carry: StackCarry, dropout: StepDropout | None = None
    ) -> tuple[Float[Tensor, "*N D"], StackCarry]:
        """Return the top layer's output after one more position, and the new state.

        Upper layers read no context.
        """
        states, lowest = self.step_lowest(gates, carry, dropout)
        states, upper = self.step_upper(states, carry, dropout)
        return states, lowest + upper

    def step_lowest(
        self, gates: Float[Tensor, "*N G"], carry: StackCarry, dropout: StepDropout | None = None
    ) -> tuple[Float[Tensor, "*N D"], StackCarry]:
        """Return the lowest layer's output after one more position, and its new state."""
        recurrent, output = dropout or ((None,), (None,))
        after = self.lowest.cell.step(gates, carry[0], recurrent[0])
        return _times(after[0], output[0]), (after,)

    def step_upper(
        self,
        states: Float[Tensor, "*N D"],
        carry: StackCarry,
        dropout: StepDropout | None = None,
        context: Float[Tensor, "*N C"] | None = None,
    ) -> tuple[Float[Tensor, "*N D"], StackCarry]:
        """Return the top layer's output, given the lowest one's, and the upper layers' new state.

        ``carry`` is the state of all layers.
        """
        nothing = (None,) * len(carry)
        recurrent, output = dropout or (nothing, nothing)
        after: list[Carry] = []
        for number, layer in enumerate(self.upper, start=1):
            gates = layer.cell.project(_joined(states, context))
            after.append(layer.cell.step(gates, carry[number], recurrent[number]))
            above = _times(after[-1][0], output[number])
            states = states + above if self.residual else above
        return states, tuple(after)

    def draw_dropout(self, inputs: Float[Tensor, "B T I"]) -> list[StepDropout]:
        """Draw the dropout factors of each step over ``inputs``."""
        layers = [self.lowest, *self.upper]
        state = inputs.new_empty(inputs.size(0), 1, self.hidden_dim)
        recurrent = tuple(layer.recurrent_dropout.factors(state) for layer in layers)
        outputs = [self.dropout.along(state, steps=inputs.size(1)) for _ in layers]
        return [StepDropout(recurrent, output) for output in zip(*outputs, strict=True)]


def _joined(
    states: Float[Tensor, "*N D"], context: Float[Tensor, "*N C"] | None
) -> Float[Tensor, "*N both"]:
    return states if context is None else torch.cat((states, context), dim=-1)


def _times(
    x: Float[Tensor, "*N D"], factors: Float[Tensor, "*N D"] | None
) -> Float[Tensor, "*N D"]:
    return x if factors is None else x * factors
