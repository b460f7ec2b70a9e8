"""What every searcher promises, with both families of models."""

from dataclasses import replace

import pytest
import torch

from seqtrans.translation.data.batch import collate_pairs, collate_sources
from seqtrans.translation.models.convolutional import (
    ConvolutionalDecoderConfig,
    ConvolutionalEncoderConfig,
)
from seqtrans.translation.models.encoder_decoder import EncoderDecoder, ModelConfig
from seqtrans.translation.models.recurrent_decoder_config import RecurrentDecoderConfig
from seqtrans.translation.models.recurrent_encoder import RecurrentEncoderConfig
from seqtrans.translation.models.transformer import (
    TransformerDecoderConfig,
    TransformerEncoderConfig,
)
from seqtrans.translation.protocols import Searcher, Specials
from seqtrans.translation.search import beam
from seqtrans.translation.search.beam import BeamSearch
from seqtrans.translation.search.build import build_search
from seqtrans.translation.search.config import BeamConfig, SamplingConfig
from seqtrans.translation.search.repetition import WordGuard
from seqtrans.translation.search.rules import OutputRules
from tests.support.searches import Language, inputs_of, with_settings

SPECIALS = Specials(pad=0, bos=1, eos=2, unk=3)
VOCAB = 70  # more than one chunk
SOURCES = [[4, 5, 6, 69, 8], [6], [], [7, 4, 67]]
SIZES = {"num_layers": 1, "model_dim": 16, "num_heads": 4, "ffn_dim": 32}
ENCODERS = {
    "transformer": TransformerEncoderConfig(**SIZES),
    "recurrent": RecurrentEncoderConfig(num_layers=1, hidden_dim=16, embedding_dim=16),
    "convolutional": ConvolutionalEncoderConfig(num_layers=2, model_dim=16),
}
DECODERS = {
    "transformer": TransformerDecoderConfig(**SIZES),
    "ssru": TransformerDecoderConfig(**SIZES, autoregression="ssru"),
    "recurrent": RecurrentDecoderConfig(num_layers=1, hidden_dim=16, embedding_dim=16),
    "convolutional": ConvolutionalDecoderConfig(num_layers=2, model_dim=16),
}
SEARCH = build_search(BeamConfig(max_length_offset=6), Language(SPECIALS))
SAMPLING = build_search(
    SamplingConfig(max_length_offset=6, n_best=3, length_penalty=0.6), Language(SPECIALS)
)
PIECES = ["\u2581" * (i % 3 == 0) + "abcd"[i % 4] for i in range(VOCAB)]
SEARCHERS = {
    "greedy": with_settings(SEARCH, beam_size=1),
    "beam": with_settings(SEARCH, beam_size=4, n_best=3, length_penalty=0.6),
    "wide": with_settings(SEARCH, beam_size=12, n_best=12, length_penalty=0.0),
    "guarded": with_settings(SEARCH, beam_size=4, n_best=2, no_repeat_ngram=2, no_loops=True),
    "patient": build_search(
        BeamConfig(max_length_offset=6, min_length=3, stopping="patience", patience=1.0),
        Language(SPECIALS),
    ),
    "sampling at least 3": with_settings(SAMPLING, min_length=3),
    "sampling": SAMPLING,
    "sampling guarded": with_settings(
        SAMPLING, top_p=0.9, top_k=20, temperature=1.5, n_best=1, no_repeat_ngram=2, no_loops=True
    ),
    "word guarded": with_settings(SEARCH, beam_size=4, word_guard=WordGuard(PIECES, 2, loops=True)),
}


@pytest.fixture(
    scope="module",
    params=[
        ("transformer", "transformer"),
        ("recurrent", "recurrent"),
        ("transformer", "ssru"),
        ("convolutional", "convolutional"),
    ],
    ids=lambda halves: "-".join(halves),
)
def model(request):
    torch.manual_seed(5)
    encoder, decoder = request.param
    config = ModelConfig(encoder=ENCODERS[encoder], decoder=DECODERS[decoder])
    model = EncoderDecoder(config, VOCAB, VOCAB).eval().double()
    with torch.no_grad():  # far from uniform, so that hypotheses differ and some end early
        model.output.weight.mul_(8)
        model.output.bias[SPECIALS.eos] += 1.5
    return model


@pytest.fixture(params=SEARCHERS.values(), ids=SEARCHERS)
def search(request):
    return request.param


def translate(search, model, sources):
    return search(model, collate_sources(sources, SPECIALS), inputs_of(sources))


@torch.inference_mode()
def forced_log_probs(model, pairs):
    batch = collate_pairs(pairs, SPECIALS, SPECIALS)
    logits = model.logits(batch.source, batch.target_input)
    log_probs = logits.log_softmax(-1).gather(2, batch.target_output[:, :, None])[:, :, 0]
    return (log_probs * batch.target_mask).sum(1).tolist()


def test_it_is_a_searcher(search):
    assert callable(search)
    _: Searcher = search


def test_the_result_does_not_depend_on_the_batch(model, search):
    for source, together in zip(SOURCES, translate(search, model, SOURCES), strict=True):
        (alone,) = translate(search, model, [source])
        assert [h.tokens for h in alone] == [h.tokens for h in together]
        assert [h.score for h in alone] == pytest.approx([h.score for h in together])


def test_a_score_is_what_the_model_gives_the_output(model, search):
    found = translate(search, model, SOURCES)
    pairs = [(source, h) for source, of in zip(SOURCES, found, strict=True) for h in of]
    forced = forced_log_probs(model, [(source, h.tokens) for source, h in pairs])
    lengths = [len(h.tokens) + 1 for _, h in pairs]
    for (_, hypothesis), log_prob, length in zip(pairs, forced, lengths, strict=True):
        assert hypothesis.score == pytest.approx(log_prob / length**search.length_penalty)
    assert len(set(lengths)) > 1, "all outputs are equally long: normalization was not tested"


def test_hypotheses_are_best_first_and_as_many_as_asked_for(model, search):
    for hypotheses in translate(search, model, SOURCES):
        scores = [h.score for h in hypotheses]
        assert scores == sorted(scores, reverse=True)
        assert len(hypotheses) == search.n_best
        if isinstance(search, BeamSearch):
            assert len({tuple(h.tokens) for h in hypotheses}) == len(hypotheses)


def test_special_tokens_are_never_produced(model, search):
    found = translate(search, model, SOURCES)
    assert all(token > 3 for hypotheses in found for h in hypotheses for token in h.tokens)


@pytest.mark.parametrize("search", [SEARCH, SAMPLING], ids=["beam", "sampling"])
def test_outputs_are_as_long_as_allowed_at_most(model, search):
    search = with_settings(search, max_length_factor=0.5, max_length_offset=1, max_length=4)
    model_that_goes_on = with_settings(search, banned=(0, 1, 3))
    with torch.no_grad():
        model.output.bias[SPECIALS.eos] -= 100
    try:
        found = translate(model_that_goes_on, model, SOURCES)
    finally:
        with torch.no_grad():
            model.output.bias[SPECIALS.eos] += 100
    # Half the source with its EOS, rounded up, and 1; EOS of the output is one of them.
    limits = [min(4, -(-(len(source) + 1) // 2) + 1) for source in SOURCES]
    assert [len(h[0].tokens) + 1 for h in found] == limits


def test_settled_sentences_are_dropped_and_it_changes_nothing(model, monkeypatch):
    search = with_settings(SEARCH, beam_size=3)
    dropped = []
    keep = beam.Search.keep
    monkeypatch.setattr(beam.Search, "keep", lambda s, rows: dropped.append(rows) or keep(s, rows))
    expected = translate(search, model, SOURCES)
    assert len(dropped) > 1, "no sentence was dropped before the last"
    monkeypatch.setattr(beam, "DROP_DONE_AT", 2.0)
    for one, other in zip(expected, translate(search, model, SOURCES), strict=True):
        assert [h.tokens for h in one] == [h.tokens for h in other]


def test_a_vocabulary_smaller_than_the_beam():
    class Uniform:
        def begin(self, source):
            return _Nothing(len(source))

        def decode_step(self, token, state):
            return torch.full((*token.shape, 4), 0.25).log(), state

    search = BeamSearch(
        rules=OutputRules(bos=1, eos=2, banned=(0, 1), max_length=3), beam_size=10, n_best=10
    )
    (found,) = translate(search, Uniform(), [[3]])
    assert sorted(h.tokens for h in found) == [[], [3], [3, 3]]


class _Nothing:
    def __init__(self, sentences):
        self.sentences = sentences

    def reorder(self, parent):
        assert parent.size(0) == self.sentences
        return self

    def keep(self, sentence):
        return _Nothing(len(sentence))


def test_wishes_of_a_sentence_are_kept_in_any_batch(model):
    search = with_settings(SEARCH, beam_size=4)
    wishes = [{}, {"constraints": ((9, 10, 11), (60,))}, {"prefix": (20, 21)}, {"avoid": ((5,),)}]
    inputs = [replace(one, **w) for one, w in zip(inputs_of(SOURCES), wishes, strict=True)]
    together = search(model, collate_sources(SOURCES, SPECIALS), inputs)
    for source, one, found in zip(SOURCES, inputs, together, strict=True):
        (alone,) = search(model, collate_sources([source], SPECIALS), [one])
        assert [h.tokens for h in alone] == [h.tokens for h in found]
        assert one.unmet(found[0].tokens) == []
        assert tuple(found[0].tokens[: len(one.prefix)]) == one.prefix
        assert not (one.avoid and 5 in found[0].tokens)
        (log_prob,) = forced_log_probs(model, [(source, found[0].tokens)])
        assert found[0].score == pytest.approx(log_prob / (len(found[0].tokens) + 1))


def test_sampling_refuses_wishes(model):
    one = replace(inputs_of([[4]])[0], prefix=(5,))
    with pytest.raises(ValueError, match="use beam search"):
        SAMPLING(model, collate_sources([[4]], SPECIALS), [one])
