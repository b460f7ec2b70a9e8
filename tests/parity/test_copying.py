"""Copying against its formula, token by token, and its loss against all probabilities at once."""

import math

import pytest
import torch
import torch.nn.functional as F

from seqtrans.translation.data.batch import TranslationBatch
from seqtrans.translation.models.encoder_decoder import EncoderDecoder, ModelConfig
from seqtrans.translation.models.interfaces import Memory
from seqtrans.translation.models.objective import Objective, SimCutConfig
from seqtrans.translation.models.output import copying
from seqtrans.translation.models.output.copying import CopyingOutput
from seqtrans.translation.models.transformer import (
    TransformerDecoderConfig,
    TransformerEncoderConfig,
)
from seqtrans.translation.protocols import SourceBatch

VOCAB, PAD = 11, 0
TOKENS = torch.tensor([[4, 5, 4, 2], [7, 2, PAD, PAD]])
MASK = TOKENS != PAD


def drawn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("cap", [None, 0.7])
def test_probabilities_are_the_formula(cap):
    torch.manual_seed(0)
    output = CopyingOutput(6, 5, VOCAB, cap).double()
    states, features = drawn(2, 4, 5), drawn(2, 3, 6, seed=1)
    memory = Memory(states, MASK, states[:, 0])
    found = output(output.point(features, output.project(memory, TOKENS))).exp()
    torch.testing.assert_close(found.sum(-1), torch.ones(2, 3, dtype=torch.float64))
    for b in range(2):
        real = TOKENS[b][MASK[b]].tolist()
        for q in range(3):
            logits = output.weight @ features[b, q] + output.bias
            generated = (logits if cap is None else cap * torch.tanh(logits / cap)).softmax(0)
            query = output.query_projection(features[b, q])
            keys = [output.key_projection.weight @ states[b, s] for s in range(len(real))]
            pointed = torch.stack([query @ key / math.sqrt(6) for key in keys]).softmax(0)
            gate = torch.sigmoid(output.gate(features[b, q]))[0]
            for v in range(VOCAB):
                copied = sum(pointed[s] for s, token in enumerate(real) if token == v)
                expected = gate * generated[v] + (1 - gate) * copied
                torch.testing.assert_close(found[b, q, v], expected)


def test_tokens_that_nothing_generates_can_be_copied():
    """In fp32 the probability of generating underflows; it is finite, and so are gradients."""
    output = CopyingOutput(6, 5, VOCAB)
    with torch.no_grad():
        output.bias.copy_(torch.arange(VOCAB) * -300.0)
    states = drawn(2, 4, 5).float()
    memory = Memory(states, MASK, states[:, 0])
    features = drawn(2, 3, 6, seed=1).float().requires_grad_()
    log_probs = output(output.point(features, output.project(memory, TOKENS)))
    assert log_probs.isfinite().all()
    assert (log_probs[0, :, [4, 5]] > -20).all()
    assert (log_probs[0, :, 6] < -1000).all()
    (gradient,) = torch.autograd.grad(log_probs.sum(), features)
    assert gradient.isfinite().all()


def model_and_batch():
    torch.manual_seed(0)
    sizes = {"num_layers": 1, "model_dim": 8, "num_heads": 2, "ffn_dim": 8}
    config = ModelConfig(
        encoder=TransformerEncoderConfig(**sizes),
        decoder=TransformerDecoderConfig(**sizes),
        copying=True,
        tie_embeddings="all",
    )
    target = torch.tensor([[4, 8, 5, 2], [7, 7, 2, PAD]])
    mask = target != PAD
    batch = TranslationBatch(
        SourceBatch(TOKENS, MASK), target.roll(1, 1), target, mask, int(mask.sum()), num_padded=1
    )
    return EncoderDecoder(config, VOCAB, VOCAB).eval().double(), batch


@pytest.mark.parametrize("rows", [2, 1024])
def test_the_loss_in_parts_is_that_of_all_positions(monkeypatch, rows):
    monkeypatch.setattr(copying, "_ROWS", rows)
    model, batch = model_and_batch()
    loss, shown = model(batch, Objective(label_smoothing=0.1))
    log_probs = model.logits(batch.source, batch.target_input)[batch.target_mask]
    target = batch.target_output[batch.target_mask]
    expected = F.cross_entropy(log_probs, target, label_smoothing=0.1, reduction="sum")
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(shown["nll"], F.nll_loss(log_probs, target, reduction="sum"))
    parameters = list(model.parameters())
    mine, theirs = (torch.autograd.grad(x, parameters) for x in (loss, expected))
    torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("rows", [2, 1024])
def test_gradients_of_two_passes_are_those_of_their_definition(monkeypatch, rows):
    monkeypatch.setattr(copying, "_ROWS", rows)
    model, batch = model_and_batch()
    objective = Objective(label_smoothing=0.1, consistency=SimCutConfig(cutoff=0.5))
    torch.manual_seed(1)
    loss, _ = objective(model, batch, is_training=True)
    torch.manual_seed(1)
    kept = [torch.rand(2, *x.shape)[1] >= 0.5 for x in (batch.source.tokens, batch.target_mask)]
    log_p, log_q = (
        model.output(model.features(batch.source, batch.target_input, *cut)[batch.target_mask])
        for cut in ((), kept)
    )
    target = batch.target_output[batch.target_mask]
    expected = F.cross_entropy(log_p, target, label_smoothing=0.1, reduction="sum")
    expected = expected + 3 * F.kl_div(log_q, log_p, log_target=True, reduction="sum")
    torch.testing.assert_close(loss, expected)
    parameters = list(model.parameters())
    mine, theirs = (torch.autograd.grad(x, parameters) for x in (loss, expected))
    torch.testing.assert_close(mine, theirs)


def test_different_vocabularies_are_refused():
    with pytest.raises(ValueError, match=r"copying \(true\) needs a joint vocabulary, not 9 "):
        EncoderDecoder(ModelConfig(copying=True), 9, 10)
