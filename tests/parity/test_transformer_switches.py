"""Switches of the Transformer against formulas, sentence by sentence and head by head, in fp64."""

import math

import pytest
import torch
from torch import nn

from seqtrans.nn.positions import RelativePositions
from seqtrans.translation.data.batch import collate_pairs
from seqtrans.translation.models.encoder_decoder import EncoderDecoder, ModelConfig
from seqtrans.translation.models.transformer import (
    TransformerDecoderConfig,
    TransformerEncoderConfig,
)
from seqtrans.translation.protocols import Specials

SPECIALS = Specials(pad=0, bos=1, eos=2, unk=3)
SIZES = {"num_layers": 3, "model_dim": 12, "num_heads": 3, "ffn_dim": 16}
SWITCHES = {
    "plain": {},
    "qk_norm": {"qk_norm": True},
    "value_residual": {"value_residual": True},
    "relative": {"positions": "relative"},
    "every": {"qk_norm": True, "value_residual": True, "positions": "relative"},
    "rotary": {"qk_norm": True, "positions": "rotary"},
}
LENGTHS = [(40, 3), (2, 37)]


class Plain:
    """The model of the papers, with the weights of another; pre-norm, with ReLU."""

    def __init__(self, model, switches):
        self.w = dict(model.named_parameters())
        self.switches = switches

    def linear(self, x, name):
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    def norm(self, x, name):
        x = x - x.mean(-1, keepdim=True)
        x = x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return x * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def placed(self, table, tokens):
        x = self.w[f"{table}.weight"][tokens] * math.sqrt(12)
        if self.switches.get("positions", "sinusoidal") != "sinusoidal":
            return x
        rows = [
            [(math.cos if d % 2 else math.sin)(i / 10_000 ** ((d - d % 2) / 12)) for d in range(12)]
            for i in range(len(tokens))
        ]
        return x + torch.tensor(rows, dtype=x.dtype)

    def head(self, query, key, value, name, number, *, causal, half=None):
        """Attend by one head; ``half`` names the model's half in self-attention."""
        if self.switches.get("qk_norm"):
            query, key = (
                x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * self.w[f"{name}.{which}"]
                for x, which in ((query, "query_norm.weight"), (key, "key_norm.weight"))
            )
        if half and self.switches.get("positions") == "rotary":
            query, key = turned(query), turned(key)
        scores = query @ key.T / 2  # the root of 4 features
        if half and self.switches.get("positions") == "relative":
            table = self.w[f"{half}.relative.table.weight"][:, number]
            places = [
                [bucket(j - i, looks_ahead=half == "encoder") for j in range(len(key))]
                for i in range(len(query))
            ]
            scores = scores + table[torch.tensor(places)]
        if causal:
            scores = scores + torch.full_like(scores, -math.inf).triu(1)
        return scores.softmax(-1) @ value

    def self_attention(self, x, half, layer, first_value):
        name = f"{half}.layers.{layer}.attention"
        query, key, value = self.linear(x, f"{name}.projection").chunk(3, -1)
        if layer and self.switches.get("value_residual"):
            own, first = self.w[f"{name}.value_factors"]
            value = own * value + first * first_value
        heads = [
            self.head(*parts, name, number, causal=half == "decoder", half=half)
            for number, parts in enumerate(by_head(query, key, value))
        ]
        return self.linear(torch.cat(heads, -1), f"{name}.output_projection"), value

    def cross_attention(self, x, memory, name):
        query = self.linear(x, f"{name}.query_projection")
        key, value = self.linear(memory, f"{name}.memory_projection").chunk(2, -1)
        heads = [
            self.head(*parts, name, number, causal=False)
            for number, parts in enumerate(by_head(query, key, value))
        ]
        return self.linear(torch.cat(heads, -1), f"{name}.output_projection")

    def half(self, half, x, memory=None):
        first_value = None
        for layer in range(3):
            name = f"{half}.layers.{layer}"
            y = self.norm(x, f"{name}.attention_residual.norm")
            y, value = self.self_attention(y, half, layer, first_value)
            first_value = value if layer == 0 else first_value
            x = x + y
            if memory is not None:
                y = self.norm(x, f"{name}.source_residual.norm")
                x = x + self.cross_attention(y, memory, f"{name}.source_attention")
            y = self.linear(self.norm(x, f"{name}.ffn_residual.norm"), f"{name}.ffn.input")
            x = x + self.linear(y.clamp(min=0), f"{name}.ffn.output")
        return self.norm(x, f"{half}.norm")

    def logits(self, source, target_input):
        memory = self.half("encoder", self.placed("source_embedding", source))
        features = self.half("decoder", self.placed("target_embedding", target_input), memory)
        return 5 * (self.linear(features, "output") / 5).tanh()


def by_head(*parts):
    return zip(*(part.split(4, -1) for part in parts), strict=True)


def turned(x):
    """Rotate features e and e + 2 as one complex number, by position."""
    angle = torch.arange(len(x))[:, None] * torch.tensor([1.0, 0.01]).double()
    point = torch.complex(*x.chunk(2, -1)) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat((point.real, point.imag), -1)


def bucket(distance, *, looks_ahead):
    """Return the bucket of T5, by whole numbers alone."""
    buckets = 16 if looks_ahead else 32
    exact, far = buckets // 2, abs(distance)
    if far >= exact:  # the last border at or below the distance
        borders = range(buckets - exact)
        far = exact + max(
            j for j in borders if exact ** (len(borders) - j) * 128**j <= far ** len(borders)
        )
    return far + (16 if looks_ahead and distance > 0 else 0)


@pytest.mark.parametrize("switches", SWITCHES.values(), ids=SWITCHES.keys())
def test_logits_and_gradients_are_those_of_the_formulas(switches):
    torch.manual_seed(3)
    config = ModelConfig(
        encoder=TransformerEncoderConfig(**SIZES, **switches),
        decoder=TransformerDecoderConfig(**SIZES, **switches),
        logit_soft_cap=5.0,
    )
    model = EncoderDecoder(config, 23, 29).eval().double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)
    pairs = [
        (torch.randint(4, 23, (s - 1,)).tolist(), torch.randint(4, 29, (t - 1,)).tolist())
        for s, t in LENGTHS
    ]
    batch = collate_pairs(pairs, SPECIALS, SPECIALS)
    found = model.logits(batch.source, batch.target_input)[batch.target_mask]
    plain = Plain(model, switches)
    expected = torch.cat(
        [
            plain.logits(tokens[:s], target_input[:t])
            for tokens, target_input, (s, t) in zip(
                batch.source.tokens, batch.target_input, LENGTHS, strict=True
            )
        ]
    )
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)  # positions are in fp32
    weights = torch.randn_like(found)
    gradients = [
        torch.autograd.grad((logits * weights).sum(), list(model.parameters()))
        for logits in (found, expected)
    ]
    for (name, _), mine, theirs in zip(model.named_parameters(), *gradients, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4, msg=name)


@pytest.mark.parametrize("looks_ahead", [True, False])
def test_buckets_are_those_of_t5(looks_ahead):
    distance = torch.arange(-300, 301 if looks_ahead else 1)[None]
    found = RelativePositions(2, looks_ahead=looks_ahead).bucket(distance)
    assert found[0].tolist() == [bucket(d, looks_ahead=looks_ahead) for d in distance[0].tolist()]
    assert set(found[0].tolist()) == set(range(32)) - ({16} if looks_ahead else set())
