"""Recurrent cells: compute the next state from an input and the previous state.

A cell works in two parts, so that everything that does not depend on the past is computed for
all positions in one matrix product: ``project`` maps inputs to gates, ``step`` adds the past.
Leading axes are arbitrary: sentences, or sentences and hypotheses.
"""

from typing import Protocol, runtime_checkable

import torch
from torch import nn

from seqtrans.nn.kernels.linear import Linear, linear
from seqtrans.tensor_types import Float, Tensor

Carry = tuple[Float[Tensor, "*N D"], ...]
"""The state of a cell: the hidden state and, for an LSTM, the memory cell."""


@runtime_checkable
class Cell(Protocol):
    """One recurrent layer in one direction."""

    @property
    def num_parts(self) -> int:
        """Number of tensors in the state: 1, or 2 for an LSTM."""
        ...

    @property
    def gates_dim(self) -> int:
        """Features of the gates."""
        ...

    def project(self, inputs: Float[Tensor, "*N I"]) -> Float[Tensor, "*N G"]:
        """Map inputs to their contribution to the gates, before normalization."""
        ...

    def step(
        self,
        gates: Float[Tensor, "*N G"],
        carry: Carry,
        recurrent_mask: Float[Tensor, "*N D"] | None = None,
    ) -> Carry:
        """Return the state after one more position.

        Args:
            gates: The result of ``project``.
            carry: The previous state; its first part is the hidden state.
            recurrent_mask: Dropout factors of the hidden state in the recurrent product.
        """
        ...


class _LSTMKernel(nn.LSTM):
    weight_ih_l0: nn.Parameter
    weight_hh_l0: nn.Parameter
    bias_ih_l0: nn.Parameter
    bias_hh_l0: nn.Parameter


class _GRUKernel(nn.GRU):
    weight_ih_l0: nn.Parameter
    weight_hh_l0: nn.Parameter
    bias_ih_l0: nn.Parameter
    bias_hh_l0: nn.Parameter


class LSTM(nn.Module):
    """Long short-term memory; for complete sequences it runs torch's kernel.

    Recurrent weights are initialized orthogonal, input weights Xavier-uniform, both gate by gate;
    biases are 0, except for the forget gate's, which are 1
    (http://proceedings.mlr.press/v37/jozefowicz15.html).

    Args:
        input_dim: Features of an input.
        hidden_dim: Features of the state.
    """

    num_parts = 2

    def __init__(self, input_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.gates_dim = 4 * hidden_dim
        self.kernel = _LSTMKernel(input_dim, hidden_dim, batch_first=True)
        _initialize(self.kernel.weight_ih_l0, self.kernel.weight_hh_l0)
        _open_forget_gate(self.kernel.bias_ih_l0)
        nn.init.zeros_(self.kernel.bias_hh_l0)

    def forward(self, inputs: Float[Tensor, "B T I"], start: Carry) -> Float[Tensor, "B T D"]:
        """Return the hidden state at every position."""
        return self.kernel(inputs, _before(start, inputs))[0]

    def project(self, inputs: Float[Tensor, "*N I"]) -> Float[Tensor, "*N G"]:
        """See ``Cell.project``."""
        return linear(inputs, self.kernel.weight_ih_l0, self.kernel.bias_ih_l0)

    def step(
        self,
        gates: Float[Tensor, "*N G"],
        carry: Carry,
        recurrent_mask: Float[Tensor, "*N D"] | None = None,
    ) -> Carry:
        """See ``Cell.step``."""
        hidden, cell = carry
        past = _masked(hidden, recurrent_mask)
        gates = gates + linear(past, self.kernel.weight_hh_l0, self.kernel.bias_hh_l0)
        cell, show = _lstm(gates, cell)
        return (show * cell.tanh()).to(gates.dtype), cell


class GRU(nn.Module):
    """Gated recurrent unit (arXiv:1406.1078); for complete sequences it runs torch's kernel.

    The reset gate acts after the recurrent product, as in cuDNN. Weights are initialized as in
    ``LSTM``, biases to 0.

    Args:
        input_dim: Features of an input.
        hidden_dim: Features of the state.
    """

    num_parts = 1

    def __init__(self, input_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.gates_dim = 3 * hidden_dim
        self.kernel = _GRUKernel(input_dim, hidden_dim, batch_first=True)
        _initialize(self.kernel.weight_ih_l0, self.kernel.weight_hh_l0)
        nn.init.zeros_(self.kernel.bias_ih_l0)
        nn.init.zeros_(self.kernel.bias_hh_l0)

    def forward(self, inputs: Float[Tensor, "B T I"], start: Carry) -> Float[Tensor, "B T D"]:
        """Return the hidden state at every position."""
        return self.kernel(inputs, *_before(start, inputs))[0]

    def project(self, inputs: Float[Tensor, "*N I"]) -> Float[Tensor, "*N G"]:
        """See ``Cell.project``."""
        return linear(inputs, self.kernel.weight_ih_l0, self.kernel.bias_ih_l0)

    def step(
        self,
        gates: Float[Tensor, "*N G"],
        carry: Carry,
        recurrent_mask: Float[Tensor, "*N D"] | None = None,
    ) -> Carry:
        """See ``Cell.step``."""
        (hidden,) = carry
        past = _masked(hidden, recurrent_mask)
        recurrent = linear(past, self.kernel.weight_hh_l0, self.kernel.bias_hh_l0)
        return (gru_state(gates, recurrent, hidden),)


class LayerNormLSTM(nn.Module):
    """LSTM whose gates and memory cell are layer-normalized (arXiv:1607.06450, equations 20-22).

    Weights are initialized as in ``LSTM``.

    Args:
        input_dim: Features of an input.
        hidden_dim: Features of the state.
    """

    num_parts = 2

    def __init__(self, input_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.gates_dim = 4 * hidden_dim
        self.input_projection = Linear(input_dim, 4 * hidden_dim, bias=False)
        self.recurrent_projection = Linear(hidden_dim, 4 * hidden_dim, bias=False)
        self.input_norm = nn.LayerNorm(4 * hidden_dim)
        self.recurrent_norm = nn.LayerNorm(4 * hidden_dim, bias=False)
        self.cell_norm = nn.LayerNorm(hidden_dim)
        _initialize(self.input_projection.weight, self.recurrent_projection.weight)
        _open_forget_gate(self.input_norm.bias)

    def project(self, inputs: Float[Tensor, "*N I"]) -> Float[Tensor, "*N G"]:
        """See ``Cell.project``."""
        return self.input_projection(inputs)

    def step(
        self,
        gates: Float[Tensor, "*N G"],
        carry: Carry,
        recurrent_mask: Float[Tensor, "*N D"] | None = None,
    ) -> Carry:
        """See ``Cell.step``."""
        hidden, cell = carry
        recurrent = self.recurrent_projection(_masked(hidden, recurrent_mask))
        normed = self.input_norm(gates) + self.recurrent_norm(recurrent)
        cell, show = _lstm(normed, cell)
        normed_cell = self.cell_norm(cell.to(normed.dtype))
        return (show * normed_cell.tanh()).to(gates.dtype), cell


class LayerNormGRU(nn.Module):
    """GRU whose input and recurrent products are layer-normalized (arXiv:1607.06450, 3.1).

    The three gates' products are normalized together. Weights are initialized as in ``LSTM``.

    Args:
        input_dim: Features of an input.
        hidden_dim: Features of the state.
    """

    num_parts = 1

    def __init__(self, input_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.gates_dim = 3 * hidden_dim
        self.input_projection = Linear(input_dim, 3 * hidden_dim, bias=False)
        self.recurrent_projection = Linear(hidden_dim, 3 * hidden_dim, bias=False)
        self.input_norm = nn.LayerNorm(3 * hidden_dim)
        self.recurrent_norm = nn.LayerNorm(3 * hidden_dim)
        _initialize(self.input_projection.weight, self.recurrent_projection.weight)

    def project(self, inputs: Float[Tensor, "*N I"]) -> Float[Tensor, "*N G"]:
        """See ``Cell.project``."""
        return self.input_projection(inputs)

    def step(
        self,
        gates: Float[Tensor, "*N G"],
        carry: Carry,
        recurrent_mask: Float[Tensor, "*N D"] | None = None,
    ) -> Carry:
        """See ``Cell.step``."""
        (hidden,) = carry
        recurrent = self.recurrent_projection(_masked(hidden, recurrent_mask))
        after = gru_state(self.input_norm(gates), self.recurrent_norm(recurrent), hidden)
        return (after.to(gates.dtype),)


def _before(start: Carry, inputs: Tensor) -> tuple[Float[Tensor, "1 B D"], ...]:
    """Convert the initial state for torch's kernels; cuDNN needs contiguous tensors."""
    return tuple(part.to(inputs.dtype).unsqueeze(0).contiguous() for part in start)


def _lstm(
    gates: Float[Tensor, "*N G"], cell: Float[Tensor, "*N D"]
) -> tuple[Float[Tensor, "*N D"], Float[Tensor, "*N D"]]:
    """Return the memory cell after a step, and the output gate.

    The cell is at least fp32: it is a sum over positions, too many for bf16's precision.
    """
    write, forget, new, show = gates.chunk(4, dim=-1)
    wide = cell.to(torch.promote_types(cell.dtype, torch.float32))
    return forget.sigmoid() * wide + write.sigmoid() * new.tanh(), show.sigmoid()


def gru_state(
    gates: Float[Tensor, "*N G"], recurrent: Float[Tensor, "*N G"], hidden: Float[Tensor, "*N D"]
) -> Float[Tensor, "*N D"]:
    """Return the state of a gated recurrent unit from the products of inputs and of the state."""
    dim = hidden.size(-1)
    both = (gates[..., : 2 * dim] + recurrent[..., : 2 * dim]).sigmoid()
    reset, stay = both.chunk(2, dim=-1)
    new = (gates[..., 2 * dim :] + reset * recurrent[..., 2 * dim :]).tanh()
    return torch.lerp(new, hidden.to(new.dtype), stay)


def _masked(hidden: Float[Tensor, "*N D"], mask: Float[Tensor, "*N D"] | None) -> Tensor:
    return hidden if mask is None else hidden * mask


def _initialize(input_weight: Tensor, recurrent_weight: Tensor) -> None:
    hidden_dim = recurrent_weight.size(1)
    for gate in input_weight.detach().split(hidden_dim):
        nn.init.xavier_uniform_(gate)
    for gate in recurrent_weight.detach().split(hidden_dim):
        nn.init.orthogonal_(gate)


def _open_forget_gate(bias: Tensor) -> None:
    """Set the forget gate's bias to 1 and others to 0; the order is input, forget, new, output."""
    nn.init.zeros_(bias)
    nn.init.ones_(bias.detach().chunk(4)[1])
