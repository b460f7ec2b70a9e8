"""The SSRU against its formulas, position by position, and a constant size of its state."""

import pytest
import torch

from seqtrans.nn.kernels.linear_scan import by_doubling, by_steps, linear_scan
from seqtrans.nn.ssru import SSRU
from seqtrans.translation.models.encoder_decoder import EncoderDecoder, ModelConfig
from seqtrans.translation.models.transformer import (
    TransformerDecoderConfig,
    TransformerEncoderConfig,
)
from seqtrans.translation.protocols import SourceBatch


def drawn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def states_of(decay, inputs):
    """c_t = f_t c_{t-1} + x_t as autograd records it."""
    states = [0 * decay[:, 0] + inputs[:, 0]]
    for t in range(1, inputs.size(1)):
        states.append(decay[:, t] * states[-1] + inputs[:, t])
    return torch.stack(states, dim=1)


@pytest.mark.parametrize("length", [1, 2, 3, 7, 8, 9, 33])
@pytest.mark.parametrize("scan", [linear_scan, by_steps, by_doubling])
def test_all_positions_at_once_are_the_loop(scan, length):
    decay, inputs = drawn(2, length, 3).mul(4).sigmoid(), drawn(2, length, 3, seed=1)
    torch.testing.assert_close(scan(decay, inputs), states_of(decay, inputs))


@pytest.mark.parametrize("length", [1, 2, 7])
def test_gradients_are_those_of_the_loop(length):
    given = drawn(2, length, 3).sigmoid().requires_grad_(), drawn(2, length, 3, seed=1)
    given[1].requires_grad_()
    weight = drawn(2, length, 3, seed=2)
    mine, theirs = (
        torch.autograd.grad((scan(*given) * weight).sum(), given)
        for scan in (linear_scan, states_of)
    )
    torch.testing.assert_close(mine, theirs)
    assert torch.autograd.gradcheck(linear_scan, given)


def test_gates_that_shut_do_not_overflow():
    decay = torch.full((1, 300, 2), 1e-30)
    decay[:, ::7] = 0.0
    inputs = torch.ones(1, 300, 2)
    for scan in (by_steps, by_doubling):
        torch.testing.assert_close(scan(decay, inputs), inputs)


def test_outputs_are_the_formulas_of_the_paper():
    torch.manual_seed(0)
    unit = SSRU(5).double()
    x = drawn(2, 6, 5)
    weight, gate, bias = unit.input.weight, unit.forget_gate.weight, unit.forget_gate.bias
    found, state = unit(x), unit.begin(2, like=x)
    for b in range(2):
        cell = torch.zeros(5, dtype=torch.float64)
        for t in range(6):
            forget = torch.sigmoid(gate @ x[b, t] + bias)
            cell = forget * cell + (1 - forget) * (weight @ x[b, t])
            torch.testing.assert_close(found[b, t], cell.clamp(min=0))
    for t in range(6):
        output, state = unit.step(x[:, t : t + 1], state)
        torch.testing.assert_close(output[:, 0], found[:, t])


def test_the_state_does_not_grow():
    sizes = {"num_layers": 2, "model_dim": 8, "num_heads": 2, "ffn_dim": 8}
    config = ModelConfig(
        encoder=TransformerEncoderConfig(**sizes),
        decoder=TransformerDecoderConfig(**sizes, autoregression="ssru"),
    )
    model = EncoderDecoder(config, 9, 9).eval()
    tokens = torch.tensor([[4, 5, 2]])
    state = model.begin(SourceBatch(tokens, tokens > 0))
    shapes = [cell.shape for cell in state.layers]
    for _ in range(5):
        _, state = model.decode_step(torch.tensor([[4]]), state)
    assert [cell.shape for cell in state.layers] == shapes
    assert set(vars(state)) == {"embedding", "source", "layers", "position"}


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"positions": "rotary"}, "positions 'rotary' need self-attention"),
        ({"positions": "relative"}, "positions 'relative' need self-attention"),
        ({"value_residual": True}, "value_residual .* needs self-attention"),
    ],
)
def test_what_belongs_to_self_attention_is_refused(choice, message):
    with pytest.raises(ValueError, match=message):
        TransformerDecoderConfig(autoregression="ssru", **choice)
