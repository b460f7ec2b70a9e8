"""Shortlists against the full output layer, masked."""

import math

import numpy as np
import pytest
import torch

from seqtrans.errors import RecipeError
from seqtrans.translation.data.batch import collate_sources
from seqtrans.translation.data.lexicon import Lexicon
from seqtrans.translation.models.encoder_decoder import EncoderDecoder, ModelConfig
from seqtrans.translation.models.ensemble import Ensemble
from seqtrans.translation.models.output.shortlist import with_shortlist
from seqtrans.translation.models.recurrent_decoder_config import RecurrentDecoderConfig
from seqtrans.translation.models.recurrent_encoder import RecurrentEncoderConfig
from seqtrans.translation.models.transformer import (
    TransformerDecoderConfig,
    TransformerEncoderConfig,
)
from seqtrans.translation.protocols import Specials
from seqtrans.translation.search.build import build_search
from seqtrans.translation.search.config import BeamConfig, SamplingConfig
from tests.support.searches import Language, inputs_of

SIZES = {"num_layers": 2, "model_dim": 8, "num_heads": 2, "ffn_dim": 16}
SPECIALS = Specials(pad=0, bos=1, eos=2, unk=3)
SOURCES = [[4, 5, 6], [7], [], [5, 5, 8, 4, 6]]
VOCAB, SIZE = 60, 4


def transformer():
    halves = TransformerEncoderConfig(**SIZES), TransformerDecoderConfig(**SIZES)
    return EncoderDecoder(ModelConfig(encoder=halves[0], decoder=halves[1]), 9, VOCAB)


def lstm():
    halves = RecurrentEncoderConfig(hidden_dim=4), RecurrentDecoderConfig(hidden_dim=6)
    config = ModelConfig(encoder=halves[0], decoder=halves[1], logit_soft_cap=1.5)
    return EncoderDecoder(config, 9, VOCAB)


def mixed():
    halves = TransformerEncoderConfig(**SIZES), RecurrentDecoderConfig(hidden_dim=6)
    return EncoderDecoder(ModelConfig(encoder=halves[0], decoder=halves[1]), 9, VOCAB)


MODELS = {
    "transformer": transformer,
    "lstm": lstm,
    "mixed": mixed,
    "probabilities": lambda: Ensemble([lstm(), transformer()]),
    "log_probabilities": lambda: Ensemble([lstm(), transformer()], "log_probabilities"),
}


@pytest.fixture(params=MODELS.values(), ids=MODELS.keys())
def model(request):
    torch.manual_seed(1)
    return request.param().eval().double()


@pytest.fixture
def lexicon():
    draw = np.random.default_rng(1)
    likely = np.stack([draw.permutation(np.arange(4, VOCAB))[: 2 * SIZE] for _ in range(9)])
    likely[7, 2:] = -1  # a token with two translations
    return Lexicon(likely.astype(np.int32), np.arange(20, 30, dtype=np.int32))


def shortlist(lexicon, source):
    """The tokens of one sentence's shortlist."""
    likely = {int(t) for s in [*source, SPECIALS.eos] for t in lexicon.likely[s, :SIZE] if t >= 0}
    return sorted(likely | set(lexicon.frequent[:SIZE].tolist()) | {SPECIALS.eos})


def masked(model, lexicon, prefix):
    """Log-probabilities after a prefix of every sentence, from all logits."""
    if isinstance(model, Ensemble):
        log_probs = torch.stack([masked(member, lexicon, prefix) for member in model.members])
        if model.combination == "probabilities":
            return log_probs.exp().mean(0).log()
        return log_probs.mean(0).log_softmax(-1)
    logits = model.logits(collate_sources(SOURCES, SPECIALS), prefix)[:, -1]
    for row, source in enumerate(SOURCES):
        others = torch.ones(VOCAB, dtype=torch.bool)
        others[shortlist(lexicon, source)] = False
        logits[row, others] = -math.inf
    return logits.log_softmax(-1)


@torch.no_grad()
def test_it_is_the_full_output_layer_masked(model, lexicon):
    short = with_shortlist(model, lexicon, SIZE, SPECIALS)
    state = short.begin(collate_sources(SOURCES, SPECIALS))
    prefix = torch.full((4, 1), SPECIALS.bos)
    for token in (5, 9, 11):
        log_probs, state = short.decode_step(prefix[:, -1:], state)
        torch.testing.assert_close(log_probs[:, 0], masked(model, lexicon, prefix))
        prefix = torch.cat((prefix, torch.full((4, 1), token)), dim=1)
    rows = torch.tensor([2, 0])
    kept = state.reorder(torch.zeros(4, 3, dtype=torch.long)).keep(rows)
    log_probs, _ = short.decode_step(prefix[rows, -1:].expand(-1, 3), kept)
    expected = masked(model, lexicon, prefix)[rows, None].expand(-1, 3, -1)
    torch.testing.assert_close(log_probs, expected)


@pytest.mark.parametrize(
    "config",
    [
        BeamConfig(beam_size=1),
        BeamConfig(beam_size=3, n_best=3, no_repeat_ngram=2),
        SamplingConfig(n_best=3, top_p=0.9),
    ],
)
def test_translations_are_of_the_shortlist_and_do_not_depend_on_the_batch(model, lexicon, config):
    short = with_shortlist(model, lexicon, SIZE, SPECIALS)
    search = build_search(config, Language(SPECIALS))
    every = search(short, collate_sources(SOURCES, SPECIALS), inputs_of(SOURCES))
    for source, hypotheses in zip(SOURCES, every, strict=True):
        alone = search(short, collate_sources([source], SPECIALS), inputs_of([source]))[0]
        assert [h.tokens for h in alone] == [h.tokens for h in hypotheses]
        assert [h.score for h in alone] == pytest.approx([h.score for h in hypotheses])
        tokens = {token for h in hypotheses for token in h.tokens}
        assert tokens <= set(shortlist(lexicon, source))


def test_a_model_that_copies_is_refused(lexicon):
    halves = RecurrentEncoderConfig(hidden_dim=4), RecurrentDecoderConfig(hidden_dim=6)
    config = ModelConfig(encoder=halves[0], decoder=halves[1], copying=True)
    copying = EncoderDecoder(config, VOCAB, VOCAB)
    for model in (copying, Ensemble([copying, copying])):
        with pytest.raises(RecipeError, match=r"shortlist \(4\) needs a model that copies nothing"):
            with_shortlist(model, lexicon, SIZE, SPECIALS)
