"""Gated convolutions against torch's, and the convolutional model against its definition."""

import math
import re

import pytest
import torch
import torch.nn.functional as F

from seqtrans.nn.conv.gated import GatedConvolution
from seqtrans.translation.models.convolutional import (
    ConvolutionalDecoder,
    ConvolutionalDecoderConfig,
    ConvolutionalEncoder,
    ConvolutionalEncoderConfig,
)
from seqtrans.translation.models.interfaces import Memory

HALF = math.sqrt(0.5)


def drawn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def by_torch(convolution, x, before):
    """Torch's convolution of zero-padded channels (B, D, P), then its gated linear unit."""
    width, dim = convolution.kernel_width, x.size(-1)
    weight = convolution.projection.weight.unflatten(1, (dim, width))
    padded = F.pad(x.transpose(1, 2), (before, width - 1 - before))
    return F.glu(F.conv1d(padded, weight, convolution.projection.bias), dim=1).transpose(1, 2)


@pytest.mark.parametrize(("width", "before"), [(1, 0), (2, 0), (2, 1), (3, 1), (5, 4), (9, 4)])
def test_a_linear_map_of_windows_is_torchs_convolution(width, before):
    convolution = GatedConvolution(6, width).double()
    x = drawn(2, 7, 6)
    torch.testing.assert_close(convolution(x, before), by_torch(convolution, x, before))


@pytest.mark.parametrize("width", [1, 2, 5])
def test_steps_are_the_causal_convolution(width):
    convolution = GatedConvolution(6, width).double()
    x = drawn(2, 7, 6)
    expected, window = by_torch(convolution, x, width - 1), convolution.begin(2, like=x)
    for t in range(7):
        found, window = convolution.step(x[:, t : t + 1], window)
        assert window.shape == (2, 1, width - 1, 6)
        torch.testing.assert_close(found[:, 0], expected[:, t])


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_outputs_have_about_the_variance_of_inputs(dropout):
    """Before the gate four times as much, as in the paper; a gate's mean square is near 1/3."""
    torch.manual_seed(0)
    convolution = GatedConvolution(256, 3, dropout)
    x = F.dropout(torch.randn(8, 50, 256), dropout)
    mean_square = convolution(x, 1)[:, 1:-1].pow(2).mean().item()
    assert mean_square == pytest.approx(4 / 3, abs=0.15)


def test_the_encoder_is_its_definition():
    torch.manual_seed(0)
    config = ConvolutionalEncoderConfig(num_layers=3, model_dim=6, kernel_width=3)
    encoder = ConvolutionalEncoder(config).double().eval()
    embedded = drawn(2, 5, 6)
    memory = encoder(embedded, torch.arange(5) < torch.tensor([[5], [3]]))
    for row, length in enumerate((5, 3)):
        position = encoder.input.positions.table.weight[:length]
        first = x = embedded[row : row + 1, :length] * math.sqrt(6) + position
        for layer in encoder.layers:
            x = (x + by_torch(layer, x, 1)) * HALF
        expected = (x + first)[0] * HALF
        torch.testing.assert_close(memory.states[row, :length], expected)
        torch.testing.assert_close(memory.last[row], expected[-1])


def test_the_decoder_is_its_definition():
    torch.manual_seed(0)
    config = ConvolutionalDecoderConfig(num_layers=2, model_dim=6, kernel_width=3)
    decoder = ConvolutionalDecoder(config, memory_dim=4).double().eval()
    embedded, states = drawn(1, 5, 6), drawn(1, 3, 4, seed=1)
    memory = Memory(states, torch.ones(1, 3, dtype=torch.bool), states[:, -1])
    first = x = embedded * math.sqrt(6) + decoder.input.positions.table.weight[:5]
    for layer in decoder.layers:
        y = by_torch(layer.convolution, x, 2)
        part = layer.source_attention
        key, value = part.memory_projection(states).chunk(2, dim=-1)
        query = part.query_projection((y + first) * HALF)
        weights = (query @ key.mT / math.sqrt(6)).softmax(-1)
        y = (y + part.output_projection(weights @ value)) * HALF
        x = (y + x) * HALF
    torch.testing.assert_close(decoder(embedded, memory), x)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"num_heads": 3}, "num_heads (3) must divide model_dim (512)"),
        ({"positions": "sinusoidal", "model_dim": 7}, "need an even model_dim, not 7"),
    ],
)
def test_contradictions_are_refused(choice, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        ConvolutionalDecoderConfig(**choice)
