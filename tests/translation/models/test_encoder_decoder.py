"""What a model's config refuses, and what tying shares."""

import copy
import itertools
from collections import Counter

import pytest
import torch
from torch import nn

from seqtrans.errors import DataError
from seqtrans.nn.module_list import Stack
from seqtrans.nn.positions import sinusoids
from seqtrans.translation.data.batch import collate_pairs, collate_sources
from seqtrans.translation.models.encoder_decoder import EncoderDecoder, ModelConfig
from seqtrans.translation.models.objective import Objective
from seqtrans.translation.models.recurrent_decoder_config import RecurrentDecoderConfig
from seqtrans.translation.models.transformer import (
    PositionedInput,
    TransformerDecoderConfig,
    TransformerEncoder,
    TransformerEncoderConfig,
)
from seqtrans.translation.protocols import Specials

SPECIALS = Specials(pad=0, bos=1, eos=2, unk=3)
TINY = {"num_layers": 1, "model_dim": 8, "num_heads": 2, "ffn_dim": 16}


HALVES = {"encoder": TransformerEncoderConfig, "decoder": TransformerDecoderConfig}


def config(tie="none", decoder_dim=8, **encoder):
    return ModelConfig(
        encoder=TransformerEncoderConfig(**TINY | encoder),
        decoder=TransformerDecoderConfig(**TINY | {"model_dim": decoder_dim}),
        tie_embeddings=tie,
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_heads": 3}, r"num_heads \(3\) must divide model_dim \(8\)"),
        ({"num_heads": 8, "positions": "rotary"}, r"model_dim 8 / num_heads 8 = 1"),
        ({"num_heads": 1, "model_dim": 5}, "an even model_dim, not 5"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        config(**change)


@pytest.mark.parametrize(
    ("tie", "tables"), [("none", 3), ("target_output", 2), ("source_target", 2), ("all", 1)]
)
def test_tied_tables_are_one_parameter(tie, tables):
    model = EncoderDecoder(config(tie), 11, 11)
    shared = [p for _, p in model.named_parameters() if p.shape == (11, 8)]
    assert len(shared) == tables


@pytest.mark.parametrize("tie", ["source_target", "all"])
def test_tying_both_languages_needs_one_vocabulary(tie):
    with pytest.raises(ValueError, match="a joint vocabulary, not 11 source and 12 target"):
        EncoderDecoder(config(tie), 11, 12)


@pytest.mark.parametrize("tie", ["source_target", "all"])
def test_tying_both_languages_needs_one_dimension(tie):
    with pytest.raises(ValueError, match="not 8 in the encoder and 6 in the decoder"):
        config(tie, decoder_dim=6)


def test_an_output_is_tied_to_an_embedding_of_its_size():
    decoder = RecurrentDecoderConfig(hidden_dim=8, embedding_dim=6)
    with pytest.raises(ValueError, match="the size of its embedding, not 8 and 6"):
        ModelConfig(decoder=decoder, tie_embeddings="target_output")


def test_a_tied_table_learns_from_all_its_uses():
    batch = collate_pairs([([4, 5], [5, 6])], SPECIALS, SPECIALS)
    torch.manual_seed(1)
    tied = EncoderDecoder(config("all"), 11, 11).eval().double()
    free = EncoderDecoder(config("none"), 11, 11).eval().double()
    free.load_state_dict(tied.state_dict())
    for model in (tied, free):
        model(batch, Objective(label_smoothing=0.1))[0].backward()
    parts = (free.source_embedding, free.target_embedding, free.output)
    total = sum(part.weight.grad for part in parts)
    torch.testing.assert_close(tied.output.weight.grad, total)


def test_learned_positions_end_in_training_and_stretch_in_translation():
    model = EncoderDecoder(config(positions="learned", max_positions=4), 11, 11)
    source = collate_sources([[4, 5, 6, 7, 8]], SPECIALS)
    with pytest.raises(DataError, match=r"6 tokens.*max_positions 4"):
        model.encode(source)
    assert model.eval().encode(source).states.isfinite().all()


@pytest.mark.parametrize("half", ["encoder", "decoder"])
@pytest.mark.parametrize(
    "which", ["dropout", "attention_dropout", "ffn_dropout", "embedding_dropout"]
)
def test_each_dropout_works_alone_and_only_in_training(half, which):
    off = {"dropout": 0.0, "embedding_dropout": 0.0}
    sizes = {name: TINY | off | ({which: 0.5} if name == half else {}) for name in HALVES}
    halves = {name: HALVES[name](**sizes[name]) for name in HALVES}
    model = EncoderDecoder(ModelConfig(**halves), 11, 11)
    source = collate_sources([[4, 5, 6, 7, 8]], SPECIALS)
    once, again = (model.logits(source, source.tokens) for _ in range(2))
    assert not torch.allclose(once, again)
    once, again = (model.eval().logits(source, source.tokens) for _ in range(2))
    assert torch.equal(once, again)


@pytest.mark.parametrize("norm_position", ["pre", "post"])
def test_what_leaves_a_half_is_normalized_once(norm_position):
    """By a norm with weights of its own, or a second one after it would change nothing."""
    sizes = TINY | {"norm_position": norm_position}
    halves = {name: half(**sizes) for name, half in HALVES.items()}
    torch.manual_seed(2)
    model = EncoderDecoder(ModelConfig(**halves), 11, 11).eval()
    for part in model.modules():
        if isinstance(part, nn.LayerNorm):
            nn.init.uniform_(part.weight, 1, 3)
            nn.init.normal_(part.bias)
    source = collate_sources([[4, 5, 6, 7, 8]], SPECIALS)
    memory = model.encode(source)
    features = model.decoder(model.target_embedding(source.tokens), memory)
    for half, found in ((model.encoder, memory.states), (model.decoder, features)):
        (*_, layer) = half.layers
        norm = half.norm if norm_position == "pre" else layer.ffn_residual.norm
        plain = (found - norm.bias) / norm.weight
        torch.testing.assert_close(plain.mean(-1), torch.zeros(1, 6), atol=1e-4, rtol=0)
        torch.testing.assert_close(plain.std(-1, correction=0), torch.ones(1, 6), atol=1e-3, rtol=0)


@pytest.mark.parametrize("half", ["encoder", "decoder", "output"])
def test_linear_maps_start_as_xavier_says(half):
    sizes = {"num_layers": 1, "model_dim": 32, "num_heads": 2, "ffn_dim": 64}
    halves = {name: of_half(**sizes) for name, of_half in HALVES.items()}
    model = EncoderDecoder(ModelConfig(**halves), 99, 99)
    maps = [x for x in getattr(model, half).modules() if isinstance(x, nn.Linear)]
    assert maps
    for linear in maps:
        bound = (6 / sum(linear.weight.shape)) ** 0.5
        assert linear.weight.abs().max().item() == pytest.approx(bound, rel=0.02)
        assert linear.weight.var().item() == pytest.approx(bound**2 / 3, rel=0.15)
        assert not linear.bias.any()


def test_embeddings_are_scaled_and_placed():
    embedded = torch.randn(1, 3, 8)
    found, _ = PositionedInput(config().encoder).eval()(embedded, torch.arange(3))
    torch.testing.assert_close(found, embedded * 8**0.5 + sinusoids(torch.arange(3), 8))


def test_residual_connections_may_start_as_the_identity():
    """With zero maps at their ends; all other weights are as without, and all learn in time."""
    batch = collate_pairs([([4, 5], [5, 6]), ([7, 8, 9], [4])], SPECIALS, SPECIALS)
    models = {}
    for zero in (False, True):
        torch.manual_seed(1)
        sizes = TINY | {"num_layers": 2, "zero_init_residual": zero, "dropout": 0.0}
        halves = {name: half(**sizes) for name, half in HALVES.items()}
        models[zero] = EncoderDecoder(ModelConfig(**halves), 11, 11)
    model = models[True].eval()
    changed = {
        name
        for (name, p), q in zip(model.named_parameters(), models[False].parameters(), strict=True)
        if not torch.equal(p, q)
    }
    ends = ("attention.output_projection.weight", "ffn.output.weight")
    assert changed == {name for name, _ in model.named_parameters() if name.endswith(ends)}
    embedded = model.source_embedding(batch.source.tokens)
    placed, _ = model.encoder.input(embedded, torch.arange(embedded.size(1)))
    torch.testing.assert_close(model.encode(batch.source).states, model.encoder.norm(placed))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for _ in range(3):
        loss, _ = model(batch)
        for p, gradient in zip(
            model.parameters(), torch.autograd.grad(loss, list(model.parameters())), strict=True
        ):
            p.data -= 0.1 * gradient
    assert not [name for name, p in model.named_parameters() if torch.equal(p, before[name])]


@pytest.mark.parametrize("value_residual", [False, True])
def test_layers_are_skipped_as_often_as_said(value_residual):
    """The first never, where later layers need its values."""
    sizes = {"num_layers": 3, "value_residual": value_residual, "dropout": 0.0}
    sizes |= {"embedding_dropout": 0.0, "layer_dropout": 0.25}
    torch.manual_seed(1)
    encoder = TransformerEncoder(TransformerEncoderConfig(**TINY | sizes))
    x, mask = torch.randn(1, 4, 8), torch.ones(1, 4, dtype=torch.bool)
    expected = {}
    for kept in itertools.product((False, True), repeat=3):
        if value_residual and not kept[0]:
            continue
        shorter = copy.deepcopy(encoder).eval()
        shorter.layers = Stack(
            layer for layer, stays in zip(shorter.layers, kept, strict=True) if stays
        )
        expected[kept] = shorter(x, mask).states
    counts = Counter()
    for seed in range(200):
        torch.manual_seed(seed)
        found = encoder(x, mask).states
        (kept,) = [kept for kept, states in expected.items() if torch.allclose(states, found)]
        counts.update(i for i, stays in enumerate(kept) if stays)
    shares = [counts[i] / 200 for i in range(3)]
    assert shares == pytest.approx([1.0 if value_residual else 0.75, 0.75, 0.75], abs=0.08)
    assert torch.equal(encoder.eval()(x, mask).states, expected[True, True, True])


def test_a_skipped_layer_has_gradients_of_zero():
    """DDP waits for the gradient of every parameter; without decoder layers, no memory is read."""
    sizes = TINY | {"num_layers": 2, "layer_dropout": 0.5}
    halves = {name: half(**sizes) for name, half in HALVES.items()}
    batch = collate_pairs([([4, 5], [5, 6])], SPECIALS, SPECIALS)
    model = EncoderDecoder(ModelConfig(**halves), 11, 11)
    skipped = 0
    for seed in range(8):
        torch.manual_seed(seed)
        loss, _ = model(batch)
        model.zero_grad()
        loss.backward()
        assert all(p.grad is not None for p in model.parameters())
        layers = (*model.encoder.layers, *model.decoder.layers)
        skipped += sum(not layer.ffn.output.bias.grad.any() for layer in layers)
    assert 8 < skipped < 24
