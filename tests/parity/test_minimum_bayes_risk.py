"""Minimum Bayes risk decoding equals a loop over pairs that sacreBLEU scores one by one."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from seqtrans.translation.data.batch import collate_sources
from seqtrans.translation.evaluation.pairwise_scores import pairwise_scores
from seqtrans.translation.inference.translator import Translator
from seqtrans.translation.search.build import build_search
from seqtrans.translation.search.config import BeamConfig, SamplingConfig
from seqtrans.translation.tokenization.segmenters import Segmenters
from seqtrans.translation.tokenization.vocabulary import Vocabulary
from seqtrans.translation.tokenization.words_and_characters import TokenSegmenter
from tests.support.copying_model import random_model
from tests.support.searches import inputs_of

METRICS = {"chrf": CHRF(), "bleu": BLEU(effective_order=True)}
WORDS = st.sampled_from(
    ["a", "aa", "ab", "der", "ist.", "Haus,", "(Haus)", "\u00e9", "\u6f22\u5b57"]
)
TEXTS = st.lists(WORDS, max_size=9).map(" ".join)
SAMPLES = SamplingConfig(n_best=12, max_length=9, mbr="chrf", length_penalty=0.7)
BEAM = BeamConfig(
    beam_size=6, n_best=6, max_length=9, mbr="bleu", mbr_scale=0.4, length_penalty=0.7
)
LINES = ["ab", "b.", "abba ba", "", "ba. ab. b.", "aab. bbb. abab."]


def score(utility, hypothesis, reference):
    return METRICS[utility].sentence_score(hypothesis, [reference]).score


@pytest.mark.parametrize("utility", METRICS)
@given(texts=st.lists(TEXTS, min_size=1, max_size=6))
def test_scores_of_all_pairs_are_those_of_sacrebleu(utility, texts):
    expected = [[score(utility, one, other) for other in texts] for one in texts]
    np.testing.assert_allclose(pairwise_scores(texts, utility), expected, atol=1e-9)


class Merging(TokenSegmenter):
    """Writes ``A`` and ``a`` alike, so that different hypotheses are the same text."""

    def decode(self, ids):
        return super().decode(ids).lower()


@pytest.fixture(scope="module")
def segmenters():
    segmenter = Merging(Vocabulary(tuple("abAB.\u2581")), "characters")
    return Segmenters(segmenter, segmenter)


def searched(config, segmenters, lines):
    """What a search finds for lines in one batch, as pairs of text and hypothesis."""
    sources = segmenters.source.encode(lines)
    batch = collate_sources(sources, segmenters.source.specials)
    search = build_search(config, segmenters.target)
    found = search(random_model(segmenters), batch, inputs_of(sources))
    return [[(segmenters.target.decode(h.tokens), h) for h in of_line] for of_line in found]


@pytest.mark.parametrize("config", [SAMPLES, BEAM], ids=["sampling", "beam"])
def test_the_first_has_the_highest_mean_score_with_all_hypotheses_as_references(config, segmenters):
    lines = [line for line in LINES if line]
    found = searched(config, segmenters, lines)
    repeated = changed = 0
    for ranked, all_of in zip(
        found, searched(replace(config, mbr=None), segmenters, lines), strict=True
    ):
        weights = [1.0] * len(all_of)
        if config is BEAM:
            weights = [math.exp(0.4 * h.score * (len(h.tokens) + 1) ** 0.7) for _, h in all_of]
        texts = list(dict.fromkeys(text for text, _ in all_of))
        expected = {
            text: sum(
                weight * score(config.mbr, text, other)
                for weight, (other, _) in zip(weights, all_of, strict=True)
            )
            / sum(weights)
            for text in texts
        }
        assert {text: h.score for text, h in ranked} == pytest.approx(expected)
        scores = [h.score for _, h in ranked]
        assert scores == sorted(scores, reverse=True)
        repeated += len(texts) < len(all_of)
        changed += ranked[0][0] != all_of[0][0]
    assert repeated, "no text was found twice: that they count together was not tested"
    assert changed, "the likeliest was always the best: nothing was tested"


@pytest.mark.parametrize("config", [SAMPLES, BEAM], ids=["sampling", "beam"])
def test_the_choice_does_not_depend_on_the_batch_and_parts_are_chosen_one_by_one(
    config, segmenters
):
    model = random_model(segmenters)
    config = replace(config, max_source_tokens=4)
    together = list(Translator(model, segmenters, config, "cpu").stream(LINES))
    alone = Translator(model, segmenters, replace(config, batch_tokens=1), "cpu")
    for line, found in zip(LINES, together, strict=True):
        (other,) = alone.stream([line])
        assert (found.text, found.tokens) == (other.text, other.tokens)
        assert found.score == pytest.approx(other.score)
    assert together[3].text == ""
    parts = list(Translator(model, segmenters, config, "cpu").stream(["ba.", "ab.", "b."]))
    assert together[4].text == " ".join(part.text for part in parts)
    lengths = [len(part.tokens) + 1 for part in parts]
    mean = sum(part.score * n for part, n in zip(parts, lengths, strict=True)) / sum(lengths)
    assert together[4].score == pytest.approx(mean)


def test_there_must_be_several_to_choose_from():
    with pytest.raises(ValueError, match="n_best must be at least 2, not 1"):
        BeamConfig(mbr="chrf")
    with pytest.raises(ValueError, match=r"n_best \(9\) must not be larger than beam_size \(5\)"):
        BeamConfig(mbr="chrf", n_best=9)
