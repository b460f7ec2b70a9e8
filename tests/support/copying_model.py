"""A translation model that copies its source, so that every output is known."""

from dataclasses import dataclass, replace

import torch
from torch import nn

from seqtrans.translation.inference.translator import Translator
from seqtrans.translation.models.encoder_decoder import EncoderDecoder, ModelConfig
from seqtrans.translation.models.transformer import (
    TransformerDecoderConfig,
    TransformerEncoderConfig,
)
from seqtrans.translation.search.config import BeamConfig
from seqtrans.translation.tokenization.segmenters import Segmenters
from seqtrans.translation.tokenization.vocabulary import build_vocabulary
from seqtrans.translation.tokenization.words_and_characters import TokenSegmenter, split_characters

CONFIG = BeamConfig(beam_size=2, max_source_tokens=40)


LETTERS = "abcdefghijklmnopqrstuvwxyz.,!? 0123456789"


def characters():
    vocabulary = build_vocabulary([split_characters(LETTERS)])
    segmenter = TokenSegmenter(vocabulary, "characters")
    return Segmenters(segmenter, segmenter)


@dataclass(frozen=True)
class CopyState:
    source: torch.Tensor  # (B, S)
    position: int

    def reorder(self, parent):
        del parent
        return self

    def keep(self, sentence):
        return replace(self, source=self.source[sentence])


class Copier(nn.Module):
    """Writes what it reads, then EOS; every other token is 1,000 times less likely."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.batches = []  # shapes of the sources

    def begin(self, source):
        self.batches.append(tuple(source.tokens.shape))
        return CopyState(source.tokens, 0)

    def decode_step(self, token, state):
        wanted = state.source[:, min(state.position, state.source.size(1) - 1)]
        logits = torch.zeros(*token.shape, len(LETTERS) + 4)
        logits.scatter_(2, wanted[:, None, None].expand(*token.shape, 1), 7.0)
        return logits.log_softmax(-1), replace(state, position=state.position + 1)


def translator(config=CONFIG, model=None):
    return Translator(model or Copier(), characters(), config, device="cpu")


def random_model(segmenters):
    torch.manual_seed(1)
    sizes = {"num_layers": 1, "model_dim": 32, "num_heads": 4, "ffn_dim": 64}
    config = ModelConfig(
        encoder=TransformerEncoderConfig(**sizes), decoder=TransformerDecoderConfig(**sizes)
    )
    model = EncoderDecoder(config, *(len(s.pieces) for s in segmenters))
    with torch.no_grad():
        model.output.weight.mul_(4)
    return model
