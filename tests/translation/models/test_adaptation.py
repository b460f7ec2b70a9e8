"""Adaptations against their formulas, and runs in which nothing else learns."""

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from seqtrans.nn.adaptation import AdaptedLinear, Bottleneck, LowRank, UnitScale
from seqtrans.nn.kernels.linear import Linear
from seqtrans.translation.models.adaptation import (
    AdapterConfig,
    LhucConfig,
    LoraConfig,
    is_adaptation,
)
from seqtrans.translation.models.encoder_decoder import EncoderDecoder, ModelConfig
from seqtrans.translation.models.transformer import (
    TransformerDecoderConfig,
    TransformerEncoderConfig,
)
from seqtrans.translation.protocols import SourceBatch
from tests.support.command_line import RECIPE, seqtrans, write_corpus

CONFIGS = {"lora": LoraConfig(rank=2), "lhuc": LhucConfig(), "adapter": AdapterConfig(dim=3)}
SIZES = {"num_layers": 2, "model_dim": 8, "num_heads": 2, "ffn_dim": 8}
HALVES = {
    "encoder": TransformerEncoderConfig(**SIZES),
    "decoder": TransformerDecoderConfig(**SIZES),
}


def randomized(module):
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    return module.double()


def test_low_rank_is_the_map_with_the_product_in_its_weights():
    torch.manual_seed(0)
    base = Linear(6, 4)
    adapted = randomized(AdaptedLinear(base, LowRank(6, 4, rank=2, alpha=3.0, dropout=0.0)))
    part, x = adapted.adaptation, torch.randn(5, 2, 6).double()
    merged = base.weight + 3 / 2 * part.up.weight @ part.down.weight
    torch.testing.assert_close(adapted(x), nn.functional.linear(x, merged, base.bias))
    assert [name for name, _ in adapted.named_parameters()] == [
        "weight",
        "bias",
        "adaptation.down.weight",
        "adaptation.up.weight",
    ]


def test_unit_scales_and_bottlenecks_are_their_formulas():
    torch.manual_seed(0)
    x = torch.randn(5, 6).double()
    scaled = randomized(AdaptedLinear(Linear(6, 4, bias=False), UnitScale(4)))
    expected = x @ scaled.weight.T * 2 / (1 + torch.exp(-scaled.adaptation.amplitude))
    torch.testing.assert_close(scaled(x), expected)
    narrow = randomized(AdaptedLinear(Linear(6, 4), Bottleneck(4, 3)))
    part, h = narrow.adaptation, nn.functional.linear(x, narrow.weight, narrow.bias)
    hidden = (h @ part.down.weight.T + part.down.bias).clamp(min=0)
    torch.testing.assert_close(narrow(x), h + hidden @ part.up.weight.T + part.up.bias)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_at_first_an_adapted_model_is_the_model(config):
    tokens = torch.tensor([[4, 5, 2]])
    logits = []
    for adaptation in (None, config):
        torch.manual_seed(0)
        model = EncoderDecoder(ModelConfig(**HALVES, adaptation=adaptation), 9, 9).eval()
        logits.append(model.logits(SourceBatch(tokens, tokens > 0), tokens))
    assert torch.equal(*logits)
    added = sum(is_adaptation(name) for name, _ in model.named_parameters())
    blocks = 2 * (2 + 3)  # of attention and feed-forward, in two layers of each half
    maps = 2 * (4 + 7)  # two of each block; three of attention to the source
    assert added == {"lora": 2 * maps, "lhuc": blocks, "adapter": 4 * blocks}[config.kind]


def test_patterns_choose_maps():
    config = LoraConfig(maps=("decoder.layers.1.ffn.*",))
    model = EncoderDecoder(ModelConfig(**HALVES, adaptation=config), 9, 9)
    found = {name for name, _ in model.named_parameters() if is_adaptation(name)}
    places = [f"decoder.layers.1.ffn.{part}.adaptation" for part in ("input", "output")]
    assert found == {f"{place}.{part}.weight" for place in places for part in ("down", "up")}
    with pytest.raises(ValueError, match=r"no linear map matches nothing; there are encoder\.l"):
        EncoderDecoder(ModelConfig(**HALVES, adaptation=LoraConfig(maps=("nothing",))), 9, 9)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a recipe and its run, and another recipe for the same text."""
    folder = tmp_path_factory.mktemp("adapted")
    write_corpus(folder, "abcdefgh")
    (folder / "base.yaml").write_text(RECIPE)
    (folder / "next.yaml").write_text(RECIPE)
    assert seqtrans(folder, "train", "base.yaml").returncode == 0
    return folder


def weights(folder, run):
    return load_file(folder / "runs" / run / "checkpoints" / "12" / "model.safetensors")


@pytest.mark.parametrize("kind", CONFIGS)
def test_only_the_adaptation_of_a_run_learns(trained, kind):
    def train(run, *settings):
        options = [word for setting in settings for word in ("--set", setting)]
        done = seqtrans(trained, "train", "next.yaml", "--run", f"runs/{run}", *options)
        assert done.returncode == 0, done.stderr

    first, again = f"{kind}1", f"{kind}2"
    adaptation = f"model.adaptation={{kind: {kind}}}"
    train(first, "init_from={run: runs/base, checkpoint: last}", adaptation)
    base, adapted = weights(trained, "base"), weights(trained, first)
    added = adapted.keys() - base.keys()
    assert added
    assert all(map(is_adaptation, added))
    assert all(torch.equal(base[name], adapted[name]) for name in base)
    assert any(adapted[name].any() for name in added)
    # an adapted run can be adapted further, and translates
    train(again, f"init_from={{run: runs/{first}, checkpoint: last}}", adaptation)
    further = weights(trained, again)
    assert all(torch.equal(base[name], further[name]) for name in base)
    assert not all(torch.equal(adapted[name], further[name]) for name in added)
    output = seqtrans(trained, "translate", f"runs/{first}", "dev.src")
    assert output.returncode == 0
    assert len(output.stdout.splitlines()) == 10


def test_an_adapted_run_resumes_bit_for_bit(trained):
    settings = ["--set", "model.adaptation={kind: lora, dropout: 0.2}", "--set"]
    settings += ["init_from=runs/base", "--run"]
    for run, *options in (("whole",), ("part", "--set", "training.max_steps=8"), ("part", "more")):
        further = ["--resume", "--set", "training.max_steps=12"] if options == ["more"] else options
        done = seqtrans(trained, "train", "next.yaml", *settings, f"runs/{run}", *further)
        assert done.returncode == 0, done.stderr
    whole, part = weights(trained, "whole"), weights(trained, "part")
    assert whole.keys() == part.keys()
    assert all(torch.equal(whole[name], part[name]) for name in whole)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["model.adaptation={kind: lora}"], "model.adaptation needs the weights of another run"),
        (
            ["model.adaptation={kind: lora, maps: [x]}", "init_from=runs/base"],
            "model.adaptation.maps: no linear map matches x; there are decoder.",
        ),
    ],
)
def test_what_can_not_be_adapted_is_refused(trained, settings, message):
    options = [word for setting in settings for word in ("--set", setting)]
    done = seqtrans(trained, "train", "next.yaml", "--run", "runs/no", *options)
    assert done.returncode == 2
    assert message in done.stderr
