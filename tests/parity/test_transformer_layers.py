"""Transformer blocks against ``torch.nn``, weights copied over, and against their formulas."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from seqtrans.nn.attention.multi_head import CrossAttention, SelfAttention, attend
from seqtrans.nn.positions import rotation, sinusoids
from seqtrans.nn.transformer import DecoderLayer, EncoderLayer, FeedForward, Residual, build_norm

B, S, T, D, HEADS, FFN, MEMORY = 3, 7, 5, 16, 4, 24, 10
LENGTHS = torch.tensor([7, 2, 5])
MASK = torch.arange(S) < LENGTHS[:, None]
ATTENDED = MASK[:, None, None]


def noise(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def copy_linear(mine, *theirs):
    """Fill one fused linear map from several (weight, bias) pairs."""
    mine.weight.data = torch.cat([weight.data for weight, _ in theirs])
    mine.bias.data = torch.cat([bias.data for _, bias in theirs])


def randomize(module):
    """Torch starts biases at 0 and norms at 1, where mistakes would not show."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.4)
    return module.double().eval()


def copy_self_attention(mine, theirs):
    copy_linear(mine.projection, (theirs.in_proj_weight, theirs.in_proj_bias))
    copy_linear(mine.output_projection, (theirs.out_proj.weight, theirs.out_proj.bias))


def copy_cross_attention(mine, theirs):
    if theirs.in_proj_weight is None:
        weights = (theirs.q_proj_weight, theirs.k_proj_weight, theirs.v_proj_weight)
    else:
        weights = theirs.in_proj_weight.chunk(3)
    query, *memory = zip(weights, theirs.in_proj_bias.chunk(3), strict=True)
    copy_linear(mine.query_projection, query)
    copy_linear(mine.memory_projection, *memory)
    copy_linear(mine.output_projection, (theirs.out_proj.weight, theirs.out_proj.bias))


def copy_rest(mine, theirs, residuals):
    copy_linear(mine.ffn.input, (theirs.linear1.weight, theirs.linear1.bias))
    copy_linear(mine.ffn.output, (theirs.linear2.weight, theirs.linear2.bias))
    for number, residual in enumerate(residuals, start=1):
        residual.norm.load_state_dict(getattr(theirs, f"norm{number}").state_dict())


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(5)


def test_self_attention_is_that_of_torch():
    mine = SelfAttention(D, HEADS).double()
    theirs = randomize(nn.MultiheadAttention(D, HEADS, batch_first=True))
    copy_self_attention(mine, theirs)
    x = noise(B, S, D)
    expected, _ = theirs(x, x, x, key_padding_mask=~MASK)
    torch.testing.assert_close(mine(x, ATTENDED)[0], expected)
    expected, _ = theirs(x, x, x, attn_mask=torch.ones(S, S).triu(1).bool())
    torch.testing.assert_close(mine(x)[0], expected)


def test_cross_attention_is_that_of_torch():
    mine = CrossAttention(D, MEMORY, HEADS).double()
    theirs = randomize(nn.MultiheadAttention(D, HEADS, kdim=MEMORY, vdim=MEMORY, batch_first=True))
    copy_cross_attention(mine, theirs)
    query, memory = noise(B, T, D), noise(B, S, MEMORY)
    expected, _ = theirs(query, memory, memory, key_padding_mask=~MASK)
    torch.testing.assert_close(mine(query, mine.project(memory, MASK)), expected)


def residual(norm_position="pre"):
    return lambda: Residual(D, "layer", norm_position, 0.0)


def torch_layer(layer, norm_position, activation):
    first = norm_position == "pre"
    return randomize(layer(D, HEADS, FFN, 0.0, activation, batch_first=True, norm_first=first))


@pytest.mark.parametrize("norm_position", ["pre", "post"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_encoder_layer_is_that_of_torch(norm_position, activation):
    mine = EncoderLayer(
        SelfAttention(D, HEADS), FeedForward(D, FFN, activation), residual(norm_position)
    ).double()
    theirs = torch_layer(nn.TransformerEncoderLayer, norm_position, activation)
    copy_self_attention(mine.attention, theirs.self_attn)
    copy_rest(mine, theirs, (mine.attention_residual, mine.ffn_residual))
    x = noise(B, S, D)
    expected = theirs.train()(x, src_key_padding_mask=~MASK)  # train: not torch's fused path
    torch.testing.assert_close(mine(x, ATTENDED)[0][MASK], expected[MASK])


@pytest.mark.parametrize("norm_position", ["pre", "post"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_decoder_layer_is_that_of_torch(norm_position, activation):
    mine = DecoderLayer(
        SelfAttention(D, HEADS),
        CrossAttention(D, D, HEADS),
        FeedForward(D, FFN, activation),
        residual(norm_position),
    ).double()
    theirs = torch_layer(nn.TransformerDecoderLayer, norm_position, activation)
    copy_self_attention(mine.attention, theirs.self_attn)
    copy_cross_attention(mine.source_attention, theirs.multihead_attn)
    copy_rest(mine, theirs, (mine.attention_residual, mine.source_residual, mine.ffn_residual))
    x, memory = noise(B, T, D), noise(B, S, D)
    expected = theirs(
        x,
        memory,
        tgt_mask=torch.ones(T, T).triu(1).bool(),
        memory_key_padding_mask=~MASK,
    )
    torch.testing.assert_close(mine(x, memory, MASK)[0], expected)


@pytest.mark.parametrize("mask", [None, ATTENDED], ids=["causal", "padding"])
def test_attention_in_bf16_is_that_of_fp32(mask):
    """On a CPU it takes another path; gradients too."""
    wide = [noise(B, HEADS, S, 8).float().requires_grad_() for _ in range(3)]
    narrow = [x.detach().bfloat16().requires_grad_() for x in wide]
    for found, expected in (
        (attend(*narrow, mask), attend(*wide, mask)),
        *zip(
            torch.autograd.grad(attend(*narrow, mask).sum(), narrow),
            torch.autograd.grad(attend(*wide, mask).sum(), wide),
            strict=True,
        ),
    ):
        torch.testing.assert_close(found.float(), expected, atol=0.05, rtol=0.05)


def test_no_device_plans_attention_anew_for_every_shape(monkeypatch):
    """As cuDNN does, which torch prefers in bf16 on some GPUs; the meta device shows it."""
    allowed, compute = [], F.scaled_dot_product_attention

    def watched(*arguments, **options):
        allowed.append(torch.backends.cuda.cudnn_sdp_enabled())
        return compute(*arguments, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", watched)
    heads = torch.empty(B, HEADS, S, 8, dtype=torch.bfloat16, device="meta")
    assert attend(heads, heads, heads, None).shape == heads.shape
    assert allowed == [False]
    assert torch.backends.cuda.cudnn_sdp_enabled()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_dropout_keeps_the_mean(dtype):
    query, key = (torch.zeros(1, 1, n, 8, dtype=dtype) for n in (2000, 16))
    value = torch.ones_like(key)
    mask = torch.ones(1, 1, 1, 16, dtype=torch.bool)
    dropped = attend(query, key, value, mask, dropout=0.25).float()
    assert dropped.std() > 0.05
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.02)


def test_rms_norm_divides_by_the_root_of_the_mean_square():
    norm = randomize(build_norm("rms", D))
    x = noise(B, T, D)
    root = (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    torch.testing.assert_close(norm(x), x / root * norm.weight)


def test_gated_feed_forward_is_swiglu():
    ffn = randomize(FeedForward(D, FFN, "gated"))
    x = noise(B, T, D)
    gate, value = (
        F.linear(x, weight, bias)
        for weight, bias in zip(ffn.input.weight.split(FFN), ffn.input.bias.split(FFN), strict=True)
    )
    expected = (gate / (1 + torch.exp(-gate)) * value) @ ffn.output.weight.T + ffn.output.bias
    torch.testing.assert_close(ffn(x), expected)


def test_sinusoids_are_those_of_the_paper():
    found = sinusoids(torch.tensor([0, 1, 17, 900]), 12)
    for row, position in zip(found, (0, 1, 17, 900), strict=True):
        for i in range(6):
            angle = position / 10_000 ** (2 * i / 12)
            pair = torch.tensor([math.sin(angle), math.cos(angle)])
            torch.testing.assert_close(row[2 * i : 2 * i + 2], pair, atol=1e-4, rtol=0)


def test_rotary_positions_multiply_complex_numbers():
    x, position = noise(B, HEADS, T, 6), torch.tensor([0, 1, 5, 40, 300])
    speed = torch.tensor([10_000 ** (-2 * i / 6) for i in range(3)], dtype=torch.float64)
    turn = torch.polar(torch.ones(T, 3).double(), position[:, None] * speed)
    expected = torch.complex(x[..., :3], x[..., 3:]) * turn
    found = rotation(position, 6).rotate(x)
    torch.testing.assert_close(torch.complex(*found.chunk(2, -1)), expected, atol=1e-4, rtol=0)


def test_rotary_products_depend_on_distance_alone():
    query, key = noise(1, 1, 1, 8), noise(1, 1, 1, 8)

    def product(i, j):
        there = rotation(torch.tensor([i]), 8).rotate(query)
        return (there * rotation(torch.tensor([j]), 8).rotate(key)).sum().item()

    assert product(9, 4) == pytest.approx(product(25, 20), abs=1e-4)
    assert product(9, 4) != pytest.approx(product(9, 5), abs=1e-2)


def test_rotary_self_attention_turns_queries_and_keys():
    """Where a sentence starts is nothing to it, what stands where is."""
    attention = randomize(SelfAttention(D, HEADS))
    x, position = noise(B, S, D), torch.arange(S)
    placed, moved = (
        attention(x, ATTENDED, rotation(p, D // HEADS))[0] for p in (position, position + 9)
    )
    torch.testing.assert_close(moved[MASK], placed[MASK], atol=1e-5, rtol=0)
    assert not torch.allclose(placed[MASK], attention(x, ATTENDED)[0][MASK], atol=1e-2)


def test_attention_to_the_source_drops_weights_only_while_training():
    dropping = SelfAttention(D, HEADS, 0.5), CrossAttention(D, MEMORY, HEADS, 0.5)
    layer = randomize(DecoderLayer(*dropping, FeedForward(D, FFN), residual()))
    nn.init.zeros_(layer.attention.output_projection.weight)  # self-attention says nothing
    x, memory = noise(B, T, D), noise(B, S, MEMORY)
    assert torch.equal(layer(x, memory, MASK)[0], layer(x, memory, MASK)[0])
    layer.train()
    assert not torch.allclose(layer(x, memory, MASK)[0], layer(x, memory, MASK)[0])
