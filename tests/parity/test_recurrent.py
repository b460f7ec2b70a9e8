"""Recurrent layers, encoders and decoders against torch's own and against their formulas."""

import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seqtrans.nn.recurrent.cells import GRU, LSTM, LayerNormGRU, LayerNormLSTM
from seqtrans.nn.recurrent.layers import Recurrence, RecurrentLayer, reverse_padded, run_steps
from seqtrans.nn.recurrent.stack import RecurrentStack
from seqtrans.runtime.device import multiplies_bf16
from seqtrans.translation.models.attention import CoverageConfig
from seqtrans.translation.models.encoder_decoder import ModelConfig
from seqtrans.translation.models.interfaces import Memory
from seqtrans.translation.models.recurrent_decoder import RecurrentDecoder
from seqtrans.translation.models.recurrent_decoder_config import RecurrentDecoderConfig
from seqtrans.translation.models.recurrent_encoder import RecurrentEncoder, RecurrentEncoderConfig
from seqtrans.translation.models.transformer import TransformerEncoderConfig

LENGTHS = torch.tensor([5, 2, 1, 4])
MASK = torch.arange(5) < LENGTHS[:, None]
TORCH = {"lstm": nn.LSTM, "gru": nn.GRU}
OURS = {"lstm": LSTM, "gru": GRU}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def randomize(module):
    """Values under which no two parameters can be swapped unnoticed."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module.double()


def sequences(dim, length=5):
    return torch.randn(4, length, dim, dtype=torch.float64)


def start(cell, dim=6):
    return tuple(torch.randn(4, dim, dtype=torch.float64) for _ in range(cell.num_parts))


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_a_step_is_torchs_cell(kind):
    ours = randomize(OURS[kind](3, 6))
    theirs = {"lstm": nn.LSTMCell, "gru": nn.GRUCell}[kind](3, 6).double()
    theirs.load_state_dict(
        {name.removesuffix("_l0"): value for name, value in ours.kernel.state_dict().items()}
    )
    inputs, before = sequences(3)[:, 0], start(ours)
    found = ours.step(ours.project(inputs), before)
    expected = theirs(inputs, before if kind == "lstm" else before[0])
    torch.testing.assert_close(found, expected if kind == "lstm" else (expected,))


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_steps_and_the_kernel_agree_with_their_gradients(kind):
    cell = randomize(OURS[kind](3, 6))
    inputs, before = sequences(3).requires_grad_(), start(cell)
    weight = sequences(6)
    wanted = [inputs, *cell.parameters()]
    by_steps, at_once = run_steps(cell, inputs, before), cell(inputs, before)
    torch.testing.assert_close(by_steps, at_once)  # the kernel, whatever a layer would choose
    for mine, theirs in zip(
        torch.autograd.grad((by_steps * weight).sum(), wanted),
        torch.autograd.grad((at_once * weight).sum(), wanted),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_the_kernel_gets_states_without_gaps(kind):
    """As those of a decoder are that was cut into layers; cuDNN refuses them, a CPU does not."""
    cell, seen = randomize(OURS[kind](3, 6)), []
    cell.kernel.register_forward_pre_hook(lambda _, inputs: seen.extend(inputs[1:]))
    whole = start(cell, 12)
    cell(sequences(3), tuple(part.chunk(2, dim=-1)[0] for part in whole))
    (states,) = seen if kind == "lstm" else (tuple(seen),)
    assert len(states) == cell.num_parts
    assert all(state.is_contiguous() for state in states)


def normed(norm, x):
    """Layer normalization as arXiv:1607.06450 writes it."""
    mean, std = x.mean(), x.std(correction=0)
    y = (x - mean) / (std**2 + norm.eps) ** 0.5 * norm.weight
    return y if norm.bias is None else y + norm.bias


@pytest.mark.parametrize("row", range(4))
def test_layer_norm_lstm_is_the_papers(row):
    cell = randomize(LayerNormLSTM(3, 6))
    x, (h, c) = sequences(3)[:, 0], start(cell)
    found_h, found_c = (part[row] for part in cell.step(cell.project(x), (h, c)))
    gates = normed(cell.recurrent_norm, cell.recurrent_projection.weight @ h[row]) + normed(
        cell.input_norm, cell.input_projection.weight @ x[row]
    )
    i, f, g, o = gates.chunk(4)
    expected_c = torch.sigmoid(f) * c[row] + torch.sigmoid(i) * torch.tanh(g)
    torch.testing.assert_close(found_c, expected_c)
    torch.testing.assert_close(
        found_h, torch.sigmoid(o) * torch.tanh(normed(cell.cell_norm, expected_c))
    )


@pytest.mark.parametrize("row", range(4))
def test_layer_norm_gru_is_the_formula(row):
    cell = randomize(LayerNormGRU(3, 6))
    x, (h,) = sequences(3)[:, 0], start(cell)
    (found,) = cell.step(cell.project(x), (h,))
    r, z, n = normed(cell.input_norm, cell.input_projection.weight @ x[row]).chunk(3)
    hr, hz, hn = normed(cell.recurrent_norm, cell.recurrent_projection.weight @ h[row]).chunk(3)
    stay = torch.sigmoid(z + hz)
    new = torch.tanh(n + torch.sigmoid(r + hr) * hn)
    torch.testing.assert_close(found[row], (1 - stay) * new + stay * h[row])


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_encoder_is_torchs_on_packed_sequences(kind, bidirectional):
    config = RecurrentEncoderConfig(
        cell=kind, hidden_dim=6, num_layers=2, embedding_dim=4, bidirectional=bidirectional
    )
    ours = randomize(RecurrentEncoder(config)).eval()
    theirs = TORCH[kind](4, 6, 2, batch_first=True, bidirectional=bidirectional).double()
    weights = {}
    for number, layer in enumerate(ours.layers):
        for suffix, part in (("", layer.rightwards), ("_reverse", layer.leftwards)):
            for name, value in part.cell.kernel.state_dict().items() if part else ():
                weights[name.replace("_l0", f"_l{number}{suffix}")] = value
    theirs.load_state_dict(weights)
    embedded = sequences(4)
    memory = ours(embedded, MASK)
    packed = pack_padded_sequence(embedded * 2.0, LENGTHS, batch_first=True, enforce_sorted=False)
    states, last = theirs(packed)
    expected, _ = pad_packed_sequence(states, batch_first=True)
    torch.testing.assert_close(memory.states[MASK], expected[MASK])
    hidden = last[0] if kind == "lstm" else last
    top = torch.cat(tuple(hidden[-2:]), dim=-1) if bidirectional else hidden[-1]
    torch.testing.assert_close(memory.last, top)


def test_reversal_stays_within_the_sentence():
    x = torch.arange(20.0).reshape(4, 5, 1)
    turned = reverse_padded(x, MASK)[..., 0]
    assert turned.tolist() == [
        [4, 3, 2, 1, 0],
        [6, 5, 7, 8, 9],
        [10, 11, 12, 13, 14],
        [18, 17, 16, 15, 19],
    ]


def memory_of(dim):
    return Memory(sequences(dim), MASK, torch.randn(4, dim, dtype=torch.float64))


@pytest.mark.parametrize("initial_state", ["last", "mean", "zero"])
def test_fed_decoder_is_luongs(initial_state):
    """Against torch's cell reading [input; attentional output], one sentence at a time."""
    config = RecurrentDecoderConfig(
        hidden_dim=6,
        embedding_dim=4,
        attention="general",
        input_feeding=True,
        initial_state=initial_state,
    )
    decoder = randomize(RecurrentDecoder(config, memory_dim=7)).eval()
    kernel = decoder.stack.lowest.cell.kernel
    cell = nn.LSTMCell(4 + 6, 6).double()
    weight_ih = torch.cat((kernel.weight_ih_l0, decoder.feed.weight), dim=1)
    values = (weight_ih, kernel.weight_hh_l0, kernel.bias_ih_l0, kernel.bias_hh_l0)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    cell.load_state_dict(dict(zip(names, values, strict=True)))
    maps = (decoder.attention.output_projection, decoder.combination)
    combination = torch.cat([part.weight for part in maps], dim=1)
    memory, embedded = memory_of(7), sequences(4, length=3)
    found = decoder(embedded, memory)
    for row in range(4):
        real = memory.states[row, : LENGTHS[row]]
        summary = {"last": memory.last[row], "mean": real.mean(0), "zero": None}[initial_state]
        hidden, c = torch.zeros(2, 6, dtype=torch.float64)
        if summary is not None:
            hidden, c = torch.tanh(decoder.start(summary)).chunk(2)
        feed = torch.zeros(6, dtype=torch.float64)
        for t in range(3):
            hidden, c = cell(torch.cat((embedded[row, t] * 2.0, feed)), (hidden, c))
            weights = (real @ decoder.attention.key_projection.weight.T @ hidden).softmax(0)
            joined = torch.cat((weights @ real, hidden))
            feed = torch.tanh(combination @ joined + decoder.combination.bias)
            torch.testing.assert_close(found[row, t], feed)


def test_attention_in_upper_layers_is_that_of_gnmt_and_gated():
    """Against torch's LSTM layers, written out for one sentence at a time."""
    config = RecurrentDecoderConfig(
        hidden_dim=6,
        embedding_dim=4,
        num_layers=3,
        attention="general",
        initial_state="zero",
        residual=True,
        attention_in_upper_layers=True,
        context_gate=True,
    )
    decoder = randomize(RecurrentDecoder(config, memory_dim=7)).eval()
    memory, embedded = memory_of(7), sequences(4, length=3)
    found = decoder(embedded, memory)
    lowest, *upper = (layer.cell.kernel for layer in (decoder.stack.lowest, *decoder.stack.upper))
    value = decoder.attention.output_projection.weight
    for row in range(4):
        real = memory.states[row, : LENGTHS[row]]
        states = lowest(embedded[row] * 2.0)[0]
        weights = (states @ decoder.attention.key_projection.weight @ real.T).softmax(-1)
        context = weights @ real @ value.T
        for layer in upper:
            states = states + layer(torch.cat((states, context), dim=-1))[0]
        gate = torch.sigmoid(decoder.context_gate(torch.cat((context, states), dim=-1)))
        target = decoder.combination(states)
        torch.testing.assert_close(found[row], torch.tanh(gate * context + (1 - gate) * target))


def test_residuals_skip_all_layers_but_the_first():
    config = RecurrentDecoderConfig(hidden_dim=6, num_layers=3, residual=True, dropout=0.0)
    stack = randomize(RecurrentDecoder(config, memory_dim=6)).stack
    inputs = sequences(6)
    carry = stack.carry(tuple(inputs.new_zeros(4, 6) for _ in range(stack.num_parts)))
    expected = stack.lowest(inputs)
    for layer in stack.upper:
        expected = expected + layer(expected)
    torch.testing.assert_close(stack(inputs, carry), expected)


def test_encoder_residuals_skip_all_layers_but_the_first():
    config = RecurrentEncoderConfig(
        hidden_dim=6, embedding_dim=12, num_layers=3, residual=True, dropout=0.0
    )
    encoder = randomize(RecurrentEncoder(config))
    first, *upper = encoder.layers
    embedded = sequences(12)
    expected = first(embedded * 12**0.5, MASK)
    for layer in upper:
        expected = expected + layer(expected, MASK)
    torch.testing.assert_close(encoder(embedded, MASK).states, expected)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.parametrize("layer_norm", [True, False])
def test_recurrent_dropout_acts_on_the_past_alone_and_is_the_same_all_along(kind, layer_norm):
    recurrence = Recurrence(cell=kind, layer_norm=layer_norm, recurrent_dropout=0.5)
    layer = randomize(RecurrentLayer(recurrence, 3, 6))
    inputs = sequences(3)
    drawn = layer.train()(inputs)
    kept = layer.eval()(inputs)
    torch.testing.assert_close(drawn[:, 0], kept[:, 0])  # nothing to drop before the first
    assert not torch.allclose(drawn[:, 1:], kept[:, 1:])
    masks = torch.stack(
        [torch.tensor([0.0, 2.0])[[i >> k & 1 for k in range(6)]] for i in range(64)]
    )
    zeros = (inputs.new_zeros(64, 6),) * layer.cell.num_parts
    for row in range(4):  # exactly one of the 64 masks, at every position, explains the row
        same = inputs[row].expand(64, -1, -1)
        every = run_steps(layer.cell, same, zeros, masks.double())
        assert torch.isclose(every, drawn[row]).all(dim=2).all(dim=1).sum() == 1


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_dropout_step_by_step_is_that_of_whole_sequences(kind):
    recurrence = Recurrence(cell=kind, recurrent_dropout=0.5)
    stack = RecurrentStack(recurrence, 3, 6, 1, dropout=0.5, locked_dropout=True)
    inputs, carry = sequences(3), (start(randomize(stack).lowest.cell),)
    torch.manual_seed(1)
    expected = stack(inputs, carry)
    torch.manual_seed(1)
    carry = tuple(tuple(part[:, None] for part in layer) for layer in carry)
    steps = zip(stack.project(inputs).split(1, dim=1), stack.draw_dropout(inputs), strict=True)
    for t, (gates, dropout) in enumerate(steps):
        found, carry = stack.step(gates, carry, dropout)
        torch.testing.assert_close(found[:, 0], expected[:, t])
    assert (expected == 0).any()


@pytest.mark.parametrize("input_feeding", [True, False])
def test_variational_dropout_of_the_decoders_output_is_the_same_at_every_position(input_feeding):
    config = RecurrentDecoderConfig(
        hidden_dim=32, dropout=0.5, variational_dropout=True, input_feeding=input_feeding
    )
    decoder = RecurrentDecoder(config, memory_dim=6).double()
    zero = decoder(sequences(32), memory_of(6)) == 0
    assert torch.equal(zero, zero[:, :1].expand_as(zero))
    assert zero.any()


@pytest.mark.parametrize("choice", [{"dropout": 0.5}, {"dropout": 0.0, "recurrent_dropout": 0.5}])
def test_a_fed_decoder_drops_inside_its_layers(choice):
    config = RecurrentDecoderConfig(
        hidden_dim=6, num_layers=2, input_feeding=True, initial_state="zero", **choice
    )
    decoder = randomize(RecurrentDecoder(config, memory_dim=6))
    inputs, memory = sequences(6), memory_of(6)
    before = decoder.eval()(inputs, memory)
    decoder.stack.train()
    drawn = decoder(inputs, memory)
    assert not torch.allclose(drawn[:, 1:], before[:, 1:])


CHOICES = [
    {"attention": "additive"},
    {"attention": "general", "input_feeding": True, "cell": "gru"},
    {"attention": "multi_head", "num_heads": 4, "layer_norm": True},
    {"attention": "additive", "input_feeding": True, "num_layers": 2, "residual": True},
    {"attention": "coverage", "cell": "gru"},
    {"attention": CoverageConfig(update="gru"), "cell": "gru"},
    {"attention": "fertility_coverage", "cell": "gru"},
    {"attention": "location"},
    {"attention": "fixed"},
]


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_gradients_under_bf16_autocast_are_close(choice):
    if not (multiplies_bf16() or "cell" in choice or "layer_norm" in choice):
        pytest.skip("torch's LSTM can't compute in bf16 on this processor; trainings don't try")
    shared = {key: choice[key] for key in ("cell", "layer_norm") if key in choice}
    encoder = RecurrentEncoder(RecurrentEncoderConfig(hidden_dim=16, dropout=0.0, **shared))
    decoder = RecurrentDecoder(RecurrentDecoderConfig(hidden_dim=16, dropout=0.0, **choice), 32)
    source, target = (torch.randn(4, length, 16) / 4 for length in (5, 6))
    parameters = [*encoder.parameters(), *decoder.parameters()]

    def gradients(*, enabled):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            features = decoder(target, encoder(source, MASK))
        grads = torch.autograd.grad(F.mse_loss(features.float(), torch.ones(4, 6, 16)), parameters)
        return torch.cat([grad.flatten() for grad in grads])

    found, expected = gradients(enabled=True), gradients(enabled=False)
    assert found.isfinite().all()
    assert F.cosine_similarity(found, expected, dim=0) > 0.995
    assert found.norm() / expected.norm() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("kind", [LSTM, LayerNormLSTM])
def test_forget_gates_start_open_and_recurrences_orthogonal(kind):
    cell = kind(8, 8)
    bias = cell.kernel.bias_ih_l0 if kind is LSTM else cell.input_norm.bias
    assert bias.tolist() == [0.0] * 8 + [1.0] * 8 + [0.0] * 16
    weight = cell.kernel.weight_hh_l0 if kind is LSTM else cell.recurrent_projection.weight
    for gate in weight.chunk(4):
        torch.testing.assert_close(gate @ gate.T, torch.eye(8))


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"residual": True}, "residual (true) needs num_layers of at least 2, not 1"),
        (
            {"attention_in_upper_layers": True},
            "attention_in_upper_layers (true) needs num_layers of at least 2, not 1",
        ),
        ({"num_heads": 4}, "num_heads (4) belongs to multi_head attention, not to additive"),
        ({"attention": "multi_head"}, "multi_head attention needs num_heads, which is missing"),
        (
            {"attention": "multi_head", "num_heads": 3},
            "num_heads (3) must divide hidden_dim (512)",
        ),
    ],
)
def test_contradictions_are_refused(choice, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        RecurrentDecoderConfig(**choice)
    if "residual" in choice:
        with pytest.raises(ValueError, match="residual"):
            RecurrentEncoderConfig(**choice)


@pytest.mark.parametrize(
    "encoder", [RecurrentEncoderConfig(hidden_dim=8), TransformerEncoderConfig(model_dim=16)]
)
def test_dot_attention_needs_a_memory_of_its_size(encoder):
    ModelConfig(encoder=encoder, decoder=RecurrentDecoderConfig(hidden_dim=16, attention="dot"))
    message = r"needs hidden_dim \(8\) to equal the size of the encoder's memory \(16\)"
    decoder = RecurrentDecoderConfig(hidden_dim=8, attention="dot")
    with pytest.raises(ValueError, match=message):
        ModelConfig(encoder=encoder, decoder=decoder)
