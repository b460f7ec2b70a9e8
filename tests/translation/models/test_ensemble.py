"""An ensemble against the mean of its members, computed apart."""

import pytest
import torch

from seqtrans.translation.data.batch import collate_sources
from seqtrans.translation.models.convolutional import (
    ConvolutionalDecoderConfig,
    ConvolutionalEncoderConfig,
)
from seqtrans.translation.models.encoder_decoder import EncoderDecoder, ModelConfig
from seqtrans.translation.models.ensemble import Ensemble
from seqtrans.translation.models.recurrent_decoder_config import RecurrentDecoderConfig
from seqtrans.translation.models.recurrent_encoder import RecurrentEncoderConfig
from seqtrans.translation.models.transformer import (
    TransformerDecoderConfig,
    TransformerEncoderConfig,
)
from seqtrans.translation.protocols import Specials

SIZES = {"num_layers": 1, "model_dim": 8, "num_heads": 2, "ffn_dim": 16}
CONFIGS = [
    ModelConfig(
        encoder=TransformerEncoderConfig(**SIZES), decoder=TransformerDecoderConfig(**SIZES)
    ),
    ModelConfig(
        encoder=RecurrentEncoderConfig(hidden_dim=4), decoder=RecurrentDecoderConfig(hidden_dim=6)
    ),
    ModelConfig(
        encoder=TransformerEncoderConfig(**SIZES), decoder=RecurrentDecoderConfig(hidden_dim=6)
    ),
    ModelConfig(
        encoder=ConvolutionalEncoderConfig(model_dim=8, num_layers=2),
        decoder=TransformerDecoderConfig(**SIZES, autoregression="ssru"),
    ),
    ModelConfig(
        encoder=RecurrentEncoderConfig(hidden_dim=4),
        decoder=ConvolutionalDecoderConfig(model_dim=8, num_layers=2),
    ),
]
SPECIALS = Specials(pad=0, bos=1, eos=2, unk=3)
SOURCE = collate_sources([[4, 5, 6], [7], [], [5, 5]], SPECIALS)
TARGET = torch.tensor([[1, 4, 5, 6]]).expand(4, -1)


def members():
    torch.manual_seed(1)
    return [EncoderDecoder(config, 9, 11).eval().double() for config in CONFIGS]


def mean(combination):
    log_probs = torch.stack([m.logits(SOURCE, TARGET).log_softmax(-1) for m in members()])
    if combination == "probabilities":
        return log_probs.exp().mean(0).log()
    product = log_probs.mean(0).exp()
    return (product / product.sum(-1, keepdim=True)).log()


@pytest.mark.parametrize("combination", ["probabilities", "log_probabilities"])
def test_it_predicts_the_mean_of_its_members(combination):
    ensemble, expected = Ensemble(members(), combination), mean(combination)
    torch.testing.assert_close(ensemble.logits(SOURCE, TARGET), expected)
    state = ensemble.begin(SOURCE)
    for position in range(TARGET.size(1)):
        log_probs, state = ensemble.decode_step(TARGET[:, position : position + 1], state)
        torch.testing.assert_close(log_probs[:, 0], expected[:, position])


def test_moving_hypotheses_and_sentences_moves_those_of_every_member():
    ensemble, expected = Ensemble(members()), mean("probabilities")
    _, state = ensemble.decode_step(TARGET[:, :1], ensemble.begin(SOURCE))
    state = state.reorder(torch.zeros(4, 3, dtype=torch.int64)).keep(torch.tensor([3, 1]))
    tokens = torch.tensor([[4, 5, 6]]).expand(2, -1)
    log_probs, state = ensemble.decode_step(tokens, state)
    torch.testing.assert_close(log_probs[:, 0], expected[[3, 1], 1])
    log_probs, _ = ensemble.decode_step(tokens[:, [1]], state.reorder(torch.zeros(2, 1).long()))
    torch.testing.assert_close(log_probs[:, 0], expected[[3, 1], 2])
