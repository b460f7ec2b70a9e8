"""The recorder counts the matrix products of a model, forward and backward."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from seqtrans.nn.kernels.linear import Linear
from tools.benchmarks.peers.product_rate import ProductRecorder


def test_products_are_those_that_torch_counts():
    model = nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 3))
    x, batched = torch.randn(5, 6), torch.randn(2, 3, 4, requires_grad=True)
    with FlopCounterMode(display=False) as expected, ProductRecorder() as found:
        model(x).sum().backward()
        (batched @ batched.transpose(1, 2)).sum().backward()
    assert found.flop == expected.get_total_flops() > 0
    assert found.seconds_alone() > 0


def test_attention_and_lstm_are_counted_by_hand():
    query, key = (torch.randn(2, 3, length, 8, requires_grad=True) for length in (5, 7))
    with ProductRecorder() as found:
        nn.functional.scaled_dot_product_attention(query, key, key).sum().backward()
    assert found.flop == 7 * 2 * (2 * 3) * 5 * 7 * 8
    lstm = nn.LSTM(6, 10)
    with ProductRecorder() as found:
        lstm(torch.randn(4, 3, 6))[0].sum().backward()
    assert found.flop == pytest.approx(3 * 2 * 4 * 3 * (6 + 10) * 4 * 10)


def test_our_own_linear_layer_counts_as_torchs():
    x = torch.randn(512, 64)
    counts = []
    for layer in (nn.Linear(64, 256), Linear(64, 256)):
        with ProductRecorder() as found:
            layer(x).sum().backward()
        counts.append(found.flop)
    assert counts[0] == counts[1] > 0
