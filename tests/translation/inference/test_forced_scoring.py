"""What the scorer says of what the translator put out: the same score, whatever the line."""

import itertools
from dataclasses import replace

import pytest
import torch

from seqtrans.errors import CheckpointError, DataError
from seqtrans.translation.inference.forced_scoring import Scorer, Summary
from seqtrans.translation.inference.translator import Translator
from seqtrans.translation.tokenization.config import SubwordConfig
from seqtrans.translation.tokenization.segmenters import train_segmenters
from tests.support.copying_model import CONFIG, LETTERS, Copier, characters, random_model

LINES = [
    "",
    " \t",
    "a",
    "  ab cd  ",
    "ab\n",
    "Ünkn0wn 漢字",
    "<s> </s> <unk> <pad> \u2581",
    "1 two. 2 four! 3 six? " * 3,
    "one two three four five six seven eight nine ten. eleven",
    "x" * 50,
    "1b. " * 200,
]


class Copying(Copier):
    """The copier as a model that scores, too."""

    def logits(self, source, target_input):
        place = torch.arange(target_input.size(1)).clamp(max=source.tokens.size(1) - 1)
        logits = torch.zeros(*target_input.shape, len(LETTERS) + 4)
        return logits.scatter_(2, source.tokens[:, place][:, :, None], 7.0)


def tokens(translation):
    """Those of every part, or those of a line that was translated as a whole."""
    pieces = iter(translation.tokens)
    return [list(itertools.islice(pieces, n)) for n in translation.parts] or [*pieces]


@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0])
def test_every_line_is_scored_as_it_was_translated(penalty):
    config = replace(CONFIG, max_source_tokens=20, length_penalty=penalty, n_best=2)
    model, segmenters = Copying(), characters()
    translations = list(Translator(model, segmenters, config, "cpu").stream(LINES))
    scorer, summary = Scorer(model, segmenters, config, "cpu"), Summary()
    by_tokens = scorer.score((line, tokens(t)) for line, t in zip(LINES, translations, strict=True))
    by_text = scorer.score(zip(LINES, (t.text for t in translations), strict=True))
    for translation, pair, text in zip(translations, by_tokens, by_text, strict=True):
        assert [x for x in pair.tokens if x != "</s>"] == [*translation.tokens]
        assert len(pair.tokens) == len(pair.token_log_probs)
        assert pair.score == pytest.approx(translation.score, abs=1e-4)
        if pair.tokens == text.tokens:
            assert text.score == pair.score
        summary.add(pair)
    assert [pair.tokens == () for pair in by_tokens] == [True, True, *[False] * 9]
    assert [pair.parts for pair in by_tokens] == [
        0,
        0,
        *(len(t.parts) or 1 for t in translations[2:]),
    ]
    assert by_tokens[-1].parts == 200
    assert not any(pair.is_unsplit for pair in by_tokens)
    assert sum(a.tokens == b.tokens for a, b in zip(by_tokens, by_text, strict=True)) >= 8
    assert (summary.blank, summary.in_parts, summary.unsplit, summary.skipped) == (2, 5, 0, 0)
    assert 1 <= summary.perplexity < 10


def test_a_pair_in_parts_is_the_sum_of_its_sentences():
    segmenters = characters()
    config = replace(CONFIG, max_source_tokens=6)
    scorer = Scorer(random_model(segmenters), segmenters, config, "cpu")
    sources, targets = ["1bc.", "2 e.", "3gh?"], ["1d.", "2 y z!", "3bcdefgh."]
    parts = scorer.score(zip(sources, targets, strict=True))
    pieces = segmenters.target.encode(targets)
    named = [[segmenters.target.pieces[i] for i in ids] for ids in pieces]
    for target in (" ".join(targets), named):
        (whole,) = scorer.score([(" ".join(sources), target)])
        assert whole.parts == 3
        assert whole.log_prob == pytest.approx(sum(part.log_prob for part in parts))
        assert whole.tokens == tuple(token for part in parts for token in part.tokens)
        assert whole.score == pytest.approx(whole.log_prob / len(whole.tokens))
    (unsplit,) = scorer.score([(" ".join(sources), "1d. 2bc.")])
    wide = Scorer(scorer.model, segmenters, replace(CONFIG, max_source_tokens=99), "cpu")
    (expected,) = wide.score([(" ".join(sources), "1d. 2bc.")])
    assert unsplit == replace(expected, is_unsplit=True)


def test_one_blank_side_is_scored_by_the_model():
    segmenters = characters()
    scorer = Scorer(random_model(segmenters), segmenters, CONFIG, "cpu")
    for pair, length in ((("", "abc"), 4), ((" ", "abc"), 4), (("abc", ""), 1), (("abc", " "), 1)):
        (found,) = scorer.score([pair])
        assert len(found.tokens) == length
        assert -100 < found.log_prob < 0


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_special_pieces_in_text_are_text(tmp_path, model_type):
    lines = ["ab <s> cd", "<pad> </s>", "<unk> ab"]
    text = [*(f"abcd < sunkpad / > {i}" for i in range(99)), *lines]
    config = SubwordConfig(
        vocab_size=34, byte_fallback=False, model_type=model_type, character_coverage=1.0
    )
    segmenters = train_segmenters(config, lambda: ((x, x) for x in text), tmp_path)
    for line in lines:
        (ids,) = segmenters.target.encode([line])
        assert not {*ids} & {*segmenters.target.specials}
        assert segmenters.target.decode(ids) == line
    scorer = Scorer(random_model(segmenters), segmenters, CONFIG, "cpu")
    (found,) = scorer.score([(lines[0], lines[0])])
    assert found.tokens.count("</s>") == 1
    assert scorer.score([(lines[0], found.tokens[:-1])]) == [found]


def test_what_is_not_a_number_is_an_error_and_no_pair_that_is_too_long():
    model = Copying()
    model.logits = lambda _, target: torch.full((*target.shape, 45), float("nan"))
    with pytest.raises(CheckpointError, match="can't score: the model's log-probabilities are NaN"):
        Scorer(model, characters(), CONFIG, "cpu").score([("a", "b")])


def test_a_piece_that_is_none_is_named_with_its_pair():
    scorer = Scorer(Copying(), characters(), CONFIG, "cpu")
    with pytest.raises(DataError, match=r"^pair 2: 'abc' is not a piece"):
        scorer.score([("a", ["b"]), ("a", ["abc"])])
