"""A model whose attention remembers what it translated learns, and decodes what it learnt."""

import torch

from seqtrans.translation.data.batch import TranslationBatch
from seqtrans.translation.models.attention import CoverageConfig
from seqtrans.translation.models.encoder_decoder import EncoderDecoder, ModelConfig
from seqtrans.translation.models.recurrent_decoder_config import RecurrentDecoderConfig
from seqtrans.translation.models.recurrent_encoder import RecurrentEncoderConfig
from seqtrans.translation.protocols import SourceBatch

PAD, BOS, EOS, FIRST, DIGITS = 0, 1, 2, 4, 5


def batch(size, generator):
    """Five digits in any order, and the same backwards."""
    order = [torch.randperm(DIGITS, generator=generator) for _ in range(size)]
    source = torch.stack(order) + FIRST
    end = torch.full((size, 1), EOS)
    output = torch.cat((source.flip(1), end), dim=1)
    return torch.cat((source, end), dim=1), output


def test_digits_are_reversed():
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    sizes = {"hidden_dim": 32, "dropout": 0.0}
    config = ModelConfig(
        encoder=RecurrentEncoderConfig(**sizes),
        decoder=RecurrentDecoderConfig(**sizes, attention=CoverageConfig()),
    )
    vocab = FIRST + DIGITS
    model = EncoderDecoder(config, vocab, vocab)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(100):
        source, output = batch(48, generator)
        given = torch.cat((torch.full((48, 1), BOS), output[:, :-1]), dim=1)
        real = torch.ones_like(source, dtype=torch.bool)
        pairs = TranslationBatch(
            SourceBatch(source, real), given, output, real, output.numel(), num_padded=0
        )
        loss, _ = model(pairs)
        optimizer.zero_grad()
        (loss / real.sum()).backward()
        optimizer.step()
        losses.append(loss.item() / int(real.sum()))
    assert losses[-1] < losses[0] / 10
    model.eval()
    source, output = batch(50, generator)
    state = model.begin(SourceBatch(source, source != PAD))
    token, found = torch.full((50, 1), BOS), []
    with torch.inference_mode():
        for _ in range(DIGITS):
            log_probs, state = model.decode_step(token, state)
            token = log_probs.argmax(dim=-1)
            found.append(token)
    right = (torch.cat(found, dim=1) == output[:, :-1]).all(dim=1)
    assert right.float().mean() >= 0.9
