"""Segmentations drawn at random, against distributions worked out another way."""

import io
import itertools
import math
import random
import subprocess
import sys
from collections import Counter

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtrans.translation.tokenization.config import BpeDropout, SubwordConfig, UnigramSampling
from seqtrans.translation.tokenization.sentencepiece_segmenter import (
    SubwordSegmenter,
    train_subwords,
)

SYLLABLES = ["ha", "lo", "mi", "tren", "kas", "u", "vor", "gel", "ste"]
WORDS = ["".join(part) for part in itertools.product(SYLLABLES, repeat=3)]
LINES = [" ".join(WORDS[(i * i + 31 * j) % len(WORDS)] for j in range(9)) for i in range(300)]
DRAWS = 4_000


def trained(**settings):
    config = SubwordConfig(**{"vocab_size": 100, "byte_fallback": False, **settings})
    return train_subwords(LINES, config)


UNIGRAM = trained(user_defined_symbols=("<de>", "kas,"))
BPE = trained(model_type="bpe", user_defined_symbols=("<de>", "kas,"))
BYTES = {
    "unigram": trained(vocab_size=360, byte_fallback=True),
    "bpe": trained(model_type="bpe", vocab_size=360, byte_fallback=True),
}
TEXT = st.text(st.sampled_from("halomitrenksuvgx,<de> 漢😀"), max_size=30)


def scores_of(model):
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    size = processor.get_piece_size()
    return {processor.id_to_piece(i): processor.get_score(i) for i in range(4, size)}


def frequencies(segmenter, word):
    drawn = segmenter.sample([word] * DRAWS, 1)
    return Counter(tuple(segmenter.pieces[i] for i in ids) for ids in drawn)


def assert_distributed(found, expected):
    """Every share within 5 standard deviations; nothing that can't be."""
    assert found.keys() <= expected.keys()
    assert math.isclose(sum(expected.values()), 1)
    for segmentation, share in expected.items():
        deviation = math.sqrt(share * (1 - share) / DRAWS)
        assert abs(found[segmentation] / DRAWS - share) < 5 * deviation + 1e-4, segmentation


def cuts(text):
    """All ways to cut a text."""
    if not text:
        yield ()
    for end in range(1, len(text) + 1):
        yield from ((text[:end], *rest) for rest in cuts(text[end:]))


@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0])
def test_unigram_segmentations_come_as_often_as_they_are_likely(alpha):
    scores = scores_of(UNIGRAM)
    possible = [c for c in cuts("▁halomitren") if all(part in scores for part in c)]
    weights = {c: math.exp(alpha * sum(scores[part] for part in c)) for c in possible}
    total = sum(weights.values())
    assert len(weights) >= 20
    segmenter = SubwordSegmenter(UNIGRAM, UnigramSampling(alpha=alpha))
    expected = {c: weight / total for c, weight in weights.items()}
    assert_distributed(frequencies(segmenter, "halomitren"), expected)


def test_the_best_segmentations_come_as_often_as_they_are_likely():
    processor = sentencepiece.SentencePieceProcessor(model_proto=UNIGRAM)
    scores = scores_of(UNIGRAM)
    best = processor.nbest_encode("halomitren", nbest_size=5, out_type=str)
    weights = {tuple(c): math.exp(0.5 * sum(scores[part] for part in c)) for c in best}
    segmenter = SubwordSegmenter(UNIGRAM, UnigramSampling(alpha=0.5, nbest_size=5))
    expected = {c: weight / sum(weights.values()) for c, weight in weights.items()}
    assert_distributed(frequencies(segmenter, "halomitren"), expected)


def dropped_out(text, scores, probability, chance):
    """arXiv:1910.13267, algorithm 1, as it is written there."""
    parts = list(text)
    while True:
        merges = [
            (-scores[left + right], i)
            for i, (left, right) in enumerate(itertools.pairwise(parts))
            if left + right in scores and chance.random() >= probability
        ]
        if not merges:
            return tuple(parts)
        i = min(merges)[1]
        parts[i : i + 2] = ["".join(parts[i : i + 2])]


@pytest.mark.parametrize("probability", [0.1, 0.5])
def test_bpe_dropout_leaves_out_as_the_paper_says(probability):
    scores = {text: score for text, score in scores_of(BPE).items() if len(text) > 1}
    chance = random.Random(1)  # noqa: S311 - not for secrets
    expected = Counter(
        dropped_out("▁halomitren", scores, probability, chance) for _ in range(DRAWS)
    )
    found = frequencies(SubwordSegmenter(BPE, BpeDropout(probability=probability)), "halomitren")
    assert len(expected) > 10
    for segmentation in found | expected:
        share = (found[segmentation] + expected[segmentation]) / 2 / DRAWS
        allowed = 5 * math.sqrt(2 * share * (1 - share) / DRAWS)
        assert abs(found[segmentation] - expected[segmentation]) / DRAWS < allowed, segmentation


@given(st.lists(TEXT, max_size=4))
def test_bpe_without_dropout_is_what_sentencepiece_does(lines):
    for model in (BPE, BYTES["bpe"]):
        segmenter = SubwordSegmenter(model, BpeDropout(probability=0.0))
        assert segmenter.sample(lines, 1) == segmenter.encode(lines)


def test_bpe_that_drops_everything_leaves_characters():
    segmenter = SubwordSegmenter(BPE, BpeDropout(probability=1.0))
    drawn = segmenter.sample(LINES[:5], 1)
    for line, ids in zip(LINES, drawn, strict=False):
        assert [segmenter.pieces[i] for i in ids] == list("▁" + line.replace(" ", "▁"))


@given(st.lists(TEXT, max_size=4))
def test_a_sharp_unigram_distribution_gives_a_best_segmentation(lines):
    """Several can be as good, so it is their scores that agree."""
    for model in (UNIGRAM, BYTES["unigram"]):
        processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        segmenter = SubwordSegmenter(model, UnigramSampling(alpha=1e4))
        drawn = segmenter.sample(lines, 1)
        for ids, best in zip(drawn, segmenter.encode(lines), strict=True):
            found, most = (sum(map(processor.get_score, row)) for row in (ids, best))
            assert found == pytest.approx(most, abs=1e-3)
            assert segmenter.decode(ids) == segmenter.decode(best)


@pytest.mark.parametrize("sampling", [UnigramSampling(alpha=0.1), BpeDropout(probability=0.5)])
@given(text=TEXT, seed=st.integers())
@settings(max_examples=50)
def test_samples_spell_the_same_text(sampling, text, seed):
    segmenter = SubwordSegmenter(BYTES[sampling.kind.removesuffix("_dropout")], sampling)
    (ids,) = segmenter.sample([text], seed)
    assert segmenter.decode(ids) == segmenter.decode(segmenter.encode([text])[0])


@pytest.mark.parametrize("sampling", [UnigramSampling(alpha=0.01), BpeDropout(probability=0.9)])
def test_user_defined_symbols_stay_one_piece(sampling):
    model = UNIGRAM if sampling.kind == "unigram" else BPE
    segmenter = SubwordSegmenter(model, sampling)
    for seed in range(20):
        (ids,) = segmenter.sample(["lo<de>kas,kas kas,"], seed)
        pieces = [segmenter.pieces[i] for i in ids]
        assert pieces.count("<de>") == 1
        assert pieces.count("kas,") == 2


@pytest.mark.parametrize("sampling", [UnigramSampling(alpha=0.1), BpeDropout(probability=0.5)])
def test_unknown_characters_in_a_row_are_one_token(sampling):
    segmenter = SubwordSegmenter(UNIGRAM if sampling.kind == "unigram" else BPE, sampling)
    (ids,) = segmenter.sample(["漢字 ha漢字ha字"], 1)
    assert ids.count(segmenter.specials.unk) == 3


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_pieces_may_reach_from_word_to_word(model_type):
    content = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES),
        model_writer=content,
        model_type=model_type,
        vocab_size=400,
        split_by_whitespace=False,
        minloglevel=2,
    )
    sampling = (
        UnigramSampling(alpha=1e4) if model_type == "unigram" else BpeDropout(probability=0.0)
    )
    segmenter = SubwordSegmenter(content.getvalue(), sampling)
    best = segmenter.encode(LINES)
    assert any("▁" in segmenter.pieces[i][1:] for ids in best for i in ids)
    assert segmenter.sample(LINES, 1) == best


@pytest.mark.parametrize("model_type", ["word", "char"])
def test_what_is_not_made_of_subwords_is_not_sampled(model_type):
    content = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES),
        model_writer=content,
        model_type=model_type,
        vocab_size=20,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    with pytest.raises(ValueError, match=f"is a {model_type} model, which can't be sampled"):
        SubwordSegmenter(content.getvalue(), UnigramSampling())


DRAW = """
import hashlib, sys
from seqtrans.translation.tokenization.sentencepiece_segmenter import SubwordSegmenter
from seqtrans.translation.tokenization.config import BpeDropout, UnigramSampling
unigram, bpe, lines = (open(path, "rb").read() for path in sys.argv[1:4])
for model, kind in (
    (unigram, UnigramSampling(alpha=0.3)),
    (unigram, UnigramSampling(nbest_size=8)),
    (bpe, BpeDropout()),
):
    drawn = SubwordSegmenter(model, kind).sample(lines.decode().split("\\n"), 3)
    print(hashlib.sha256(repr(drawn).encode()).hexdigest())
"""


def test_every_process_draws_the_same(tmp_path):
    (tmp_path / "unigram").write_bytes(UNIGRAM)
    (tmp_path / "bpe").write_bytes(BPE)
    (tmp_path / "lines").write_text("\n".join(LINES))
    command = [
        sys.executable,
        "-c",
        DRAW,
        *(tmp_path / name for name in ("unigram", "bpe", "lines")),
    ]
    said = [subprocess.check_output(command, text=True).split() for _ in range(2)]
    assert said[0] == said[1]
    assert [len(line) for line in said[0]] == [64] * 3
