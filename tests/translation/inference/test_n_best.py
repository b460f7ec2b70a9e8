"""N-best lists where several token sequences are the same text, as with subwords."""

from dataclasses import replace

import pytest

from seqtrans.translation.data.batch import collate_sources
from seqtrans.translation.inference.translator import Translator
from seqtrans.translation.search.build import build_search
from seqtrans.translation.search.config import BeamConfig
from seqtrans.translation.tokenization.segmenters import Segmenters
from seqtrans.translation.tokenization.vocabulary import Vocabulary
from seqtrans.translation.tokenization.words_and_characters import TokenSegmenter
from tests.support.copying_model import random_model
from tests.support.searches import inputs_of

CONFIG = BeamConfig(beam_size=6, n_best=5, max_length=6, max_source_tokens=9)
LINES = ["ab", "b.", "abba", "", "ba. ab. b.", "aab. bbb. abab."]


class Merging(TokenSegmenter):
    """Writes ``A`` and ``a`` alike, so that a text of n letters can be written in many ways."""

    def decode(self, ids):
        return super().decode(ids).lower()


@pytest.fixture(scope="module")
def parts():
    segmenter = Merging(Vocabulary(tuple("abAB.\u2581")), "characters")
    segmenters = Segmenters(segmenter, segmenter)
    return random_model(segmenters), segmenters


def ranked(parts, config):
    found = Translator(*parts, config, "cpu").stream(LINES)
    return [(line, *line.alternatives) for line in found]


def test_alternatives_are_different_texts_and_as_many_as_were_asked_for(parts):
    lists = ranked(parts, CONFIG)
    assert [len(found) for found in lists[:4]] == [5, 5, 5, 1]
    for found in lists:
        assert len({tuple(other.text.split()) for other in found}) == len(found) <= 5
        scores = [other.score for other in found]
        assert scores == sorted(scores, reverse=True)


def test_they_are_the_best_of_each_text_among_all_that_was_found(parts):
    model, segmenters = parts
    search = replace(build_search(CONFIG, segmenters.target), n_best=6, spare=60)
    merged = 0
    for line, found in zip(LINES[:3], ranked(parts, CONFIG), strict=False):
        (ids,) = segmenters.source.encode([line])
        (hypotheses,) = search(
            model, collate_sources([ids], segmenters.source.specials), inputs_of([ids])
        )
        best = {}
        for hypothesis in hypotheses:
            text = segmenters.target.decode(hypothesis.tokens)
            best.setdefault(tuple(text.split()), (text, hypothesis.score))
        expected = list(best.values())[: len(found)]
        assert [other.text for other in found] == [text for text, _ in expected]
        assert [other.score for other in found] == pytest.approx([score for _, score in expected])
        merged += len(hypotheses) - len(best)
    assert merged > 3


def test_the_first_is_the_translation_however_many_are_asked_for(parts):
    alone = ranked(parts, replace(CONFIG, n_best=1))
    for (one,), found in zip(alone, ranked(parts, CONFIG), strict=True):
        assert (one.text, one.tokens) == (found[0].text, found[0].tokens)
        assert one.score == pytest.approx(found[0].score, abs=1e-5)
