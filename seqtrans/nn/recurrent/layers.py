"""Recurrent layers over complete sentences, in one direction or both."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from seqtrans.nn.dropout import Dropout
from seqtrans.nn.recurrent.cells import GRU, LSTM, Carry, Cell, LayerNormGRU, LayerNormLSTM
from seqtrans.tensor_types import Bool, Float, Tensor


@dataclass(frozen=True, kw_only=True)
class Recurrence:
    """Kind of a recurrent layer.

    Args:
        cell: The recurrent cell.
        layer_norm: Normalize inside the cell (arXiv:1607.06450).
        recurrent_dropout: Probability of dropping a feature of the hidden state in the recurrent
            product, the same features at every position (arXiv:1512.05287).
    """

    cell: Literal["lstm", "gru"]
    layer_norm: bool = False
    recurrent_dropout: float = 0.0


class RecurrentLayer(nn.Module):
    """A cell that is run over a sequence from left to right.

    Plain cells without recurrent dropout run in torch's kernels (on CPU only the LSTM), on
    unpacked sequences: packing takes twice the time. Other cells run step by step.

    Args:
        recurrence: Kind of layer.
        input_dim: Features of an input.
        hidden_dim: Features of the state.
    """

    def __init__(self, recurrence: Recurrence, input_dim: int, hidden_dim: int) -> None:
        super().__init__()
        if recurrence.layer_norm:
            kind = LayerNormLSTM if recurrence.cell == "lstm" else LayerNormGRU
        else:
            kind = LSTM if recurrence.cell == "lstm" else GRU
        self.hidden_dim = hidden_dim
        self.cell = kind(input_dim, hidden_dim)
        self.recurrent_dropout = Dropout(recurrence.recurrent_dropout, locked=True)

    def forward(
        self, inputs: Float[Tensor, "B T I"], start: Carry | None = None
    ) -> Float[Tensor, "B T D"]:
        """Return the hidden state at every position; position t depends on inputs 0 to t.

        Args:
            inputs: Right-padded; outputs at padding have no meaning.
            start: The initial state; zeros if None.
        """
        if start is None:
            zeros = inputs.new_zeros(inputs.size(0), self.hidden_dim)
            start = (zeros,) * self.cell.num_parts
        factors = self.recurrent_dropout.factors(start[0])
        if factors is None and self._has_kernel(inputs):
            return self.cell(inputs, start)
        return run_steps(self.cell, inputs, start, factors)

    def _has_kernel(self, inputs: Float[Tensor, "B T I"]) -> bool:
        if isinstance(self.cell, GRU):
            return not inputs.is_cpu  # torch's GRU on CPU is a loop of slower products
        return isinstance(self.cell, LSTM)


def run_steps(
    cell: Cell,
    inputs: Float[Tensor, "B T I"],
    start: Carry,
    recurrent_mask: Float[Tensor, "B D"] | None = None,
) -> Float[Tensor, "B T D"]:
    """Run any cell step by step and return the hidden state at every position."""
    carry, states = start, list[Tensor]()
    for gates in cell.project(inputs).unbind(1):
        carry = cell.step(gates, carry, recurrent_mask)
        states.append(carry[0])
    return torch.stack(states, dim=1)


class SentenceLayer(nn.Module):
    """A layer over complete sentences: from left to right and optionally also from right to left.

    Args:
        recurrence: Kind of layer.
        input_dim: Features of an input.
        hidden_dim: Features of the state of one direction.
        bidirectional: Read in both directions.
    """

    def __init__(
        self, recurrence: Recurrence, input_dim: int, hidden_dim: int, *, bidirectional: bool
    ) -> None:
        super().__init__()
        self.rightwards = RecurrentLayer(recurrence, input_dim, hidden_dim)
        self.leftwards = (
            RecurrentLayer(recurrence, input_dim, hidden_dim) if bidirectional else None
        )

    def forward(
        self, inputs: Float[Tensor, "B S I"], mask: Bool[Tensor, "B S"]
    ) -> Float[Tensor, "B S D"]:
        """Return the state at every position; those of two directions are concatenated.

        Padding changes nothing at real positions; states at padded positions have no meaning.
        """
        states = self.rightwards(inputs)
        if self.leftwards is None:
            return states
        backwards = self.leftwards(reverse_padded(inputs, mask))
        return torch.cat((states, reverse_padded(backwards, mask)), dim=-1)

    def summary(
        self, states: Float[Tensor, "B S D"], mask: Bool[Tensor, "B S"]
    ) -> Float[Tensor, "B D"]:
        """Return the final states: at the last real position and, right to left, at position 0."""
        last = mask.sum(dim=1) - 1
        read = states[torch.arange(states.size(0), device=states.device), last]
        if self.leftwards is None:
            return read
        half = self.leftwards.hidden_dim
        return torch.cat((read[:, :half], states[:, 0, half:]), dim=-1)


def reverse_padded(x: Float[Tensor, "B S D"], mask: Bool[Tensor, "B S"]) -> Float[Tensor, "B S D"]:
    """Reverse every sentence within its length; padding stays in place."""
    position = torch.arange(x.size(1), device=x.device)
    mirrored = mask.sum(dim=1, keepdim=True) - 1 - position
    index = torch.where(mask, mirrored, position)
    return x.gather(1, index[..., None].expand_as(x))


def mean_states(states: Float[Tensor, "B S D"], mask: Bool[Tensor, "B S"]) -> Float[Tensor, "B D"]:
    """Return the mean state over the real positions of every sentence."""
    total = states.masked_fill(~mask[..., None], 0.0).sum(dim=1)
    return total / mask.sum(dim=1, keepdim=True)
