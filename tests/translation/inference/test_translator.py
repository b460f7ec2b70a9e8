"""Lines in, lines out: with a model that copies, so that every output is known."""

# ruff: noqa: RUF001 - text in many scripts
import itertools
import threading
import time
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from seqtrans.errors import CheckpointError, DataError, SeqtransError
from seqtrans.runtime.device import place
from seqtrans.translation.inference import line_windows as reading_ahead
from seqtrans.translation.inference.forced_scoring import Scorer, Summary
from seqtrans.translation.inference.line_windows import fixed_windows, windows
from seqtrans.translation.inference.sentence_splitter import split_long
from seqtrans.translation.inference.translator import Translator
from tests.support.copying_model import (
    CONFIG,
    LETTERS,
    Copier,
    characters,
    random_model,
    translator,
)

WEIRD = [
    "",
    " ",
    " \t  ",
    "a",
    "a\rb",
    "\r",
    "a\u2028b\x0bc\x85d",
    "\x00\x01\x1b[31m",
    "漢字とかな",
    "🏳️‍🌈 \ud800",
    "ab " * 3,
    "x" * 1000,
    "one two. three four! five six? " * 20,
]


def test_a_line_out_for_every_line_in_and_the_order_kept(caplog):
    results = list(translator().stream(WEIRD))
    assert len(results) == len(WEIRD)
    texts = [r.text for r in results]
    assert all(len(text.splitlines()) <= 1 for text in texts)
    assert texts[:4] == ["", "", "", "a"]
    assert texts[10] == "ab ab ab"
    assert texts[11].replace(" ", "") == "x" * 1000
    assert texts[12] == WEIRD[12].strip()
    assert [r.levelname for r in caplog.records] == ["WARNING"]  # once, though two are long


def test_100_000_characters():
    line = "word " * 20_000
    config = replace(CONFIG, beam_size=1, max_source_tokens=200, batch_tokens=100_000)
    config = replace(config, max_length_factor=1.0)
    (result,) = translator(config).translate([line])
    assert result == line.strip()


def test_translate_gives_texts_and_refuses_a_bare_string():
    assert translator().translate(["b", "", "a", "b"]) == ["b", "", "a", "b"]
    assert translator().translate([]) == []
    with pytest.raises(TypeError, match=r"translate\(\['hello'\]\)"):
        translator().translate("hello")


def test_batches_hold_similar_lengths_within_their_budget():
    model = Copier()
    lines = ["a" * n for n in (1, 30, 2, 29, 3, 28)]
    config = replace(CONFIG, batch_tokens=62)
    assert translator(config, model).translate(lines) == lines
    assert sorted(model.batches) == [(1, 31), (2, 30), (3, 4)]


LINES = ["".join(itertools.islice(itertools.cycle(LETTERS[n:]), n)) for n in range(1, 25, 2)]


def test_the_result_depends_neither_on_the_batch_size_nor_on_the_neighbours():
    segmenters = characters()
    model = random_model(segmenters)
    config = replace(CONFIG, beam_size=3, n_best=2, max_length=9)
    results = []
    for budget, lines in [(50, LINES), (5_000, LINES[::-1])]:
        found = Translator(model, segmenters, replace(config, batch_tokens=budget), "cpu")
        by_line = dict(zip(lines, found.stream(lines), strict=True))
        results.append([by_line[line] for line in LINES])
    assert len({r.text for r in results[0]}) > 3
    for one, *others in zip(*results, strict=True):
        for other in others:
            assert other.text == one.text
            assert other.tokens == one.tokens
            assert other.score == pytest.approx(one.score, abs=1e-5)
            assert [a.text for a in other.alternatives] == [a.text for a in one.alternatives]


def test_alternatives_come_after_the_best():
    (result,) = translator(replace(CONFIG, beam_size=4, n_best=3)).stream(["abc"])
    assert result.text == "abc"
    assert len(result.alternatives) == 2
    scores = [result.score, *(a.score for a in result.alternatives)]
    assert scores == sorted(scores, reverse=True)
    assert result.tokens == ("a", "b", "c")


def test_a_line_in_parts_is_scored_as_a_whole():
    line = "abc abc abc. " * 4
    whole = translator(replace(CONFIG, max_source_tokens=100)).stream([line])
    parts = translator(replace(CONFIG, max_source_tokens=20)).stream([line])
    (whole,), (parts,) = list(whole), list(parts)
    assert whole.text == parts.text
    assert parts.score == pytest.approx(whole.score, rel=1e-4)  # every token is as likely here


def test_what_is_not_a_number_is_one_line_that_says_so():
    model = Copier()
    model.decode_step = lambda token, state: (torch.full((*token.shape, 45), float("nan")), state)
    with pytest.raises(CheckpointError, match="not numbers"):
        translator(model=model).translate(["a"])


def test_a_gpu_that_is_not_there_is_one_line_that_says_so(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SeqtransError, match="--device cuda"):
        place(nn.Linear(1, 1), "cuda", "fp32")
    assert place(nn.Linear(1, 1), "auto", "fp32") == torch.device("cpu")


def test_bf16_translates_too():
    segmenters = characters()
    config = replace(CONFIG, max_length=9)
    found = Translator(random_model(segmenters), segmenters, config, "cpu", "bf16").stream(LINES)
    assert sum(bool(r.text) for r in found) > len(LINES) // 2


# Long input


def lengths(texts):
    return [len(text) for text in texts]


def test_long_text_is_cut_at_sentence_ends_then_clauses_then_words_then_anywhere():
    assert split_long("Short.", 6, lengths) == ["Short."]
    text = "One two. Is it? Yes (it is.) No!"
    assert split_long(text, 20, lengths) == ["One two.", "Is it?", "Yes (it is.)", "No!"]
    assert split_long("One, two, three, four", 10, lengths) == ["One, two,", "three,", "four"]
    assert split_long("one two three four", 9, lengths) == ["one two", "three", "four"]
    assert split_long("abcdefgh", 3, lengths) == ["ab", "cd", "ef", "gh"]
    assert split_long("今日は。元気ですか？はい。", 8, lengths) == [
        "今日は。",
        "元気ですか？",
        "はい。",
    ]


def test_no_cut_before_a_small_letter():
    text = "It takes approx. five minutes. Then it ends."
    assert split_long(text, 35, lengths) == ["It takes approx. five minutes.", "Then it ends."]


@pytest.mark.parametrize("limit", [1, 2, 7, 50])
def test_parts_fit_and_nothing_is_lost(limit):
    text = "Ab c, de; fg. " * 9 + "h" * 60 + " 漢字。" * 10
    parts = split_long(text, limit, lengths)
    assert max(map(len, parts)) <= limit
    assert "".join(parts).replace(" ", "") == text.replace(" ", "")


# Reading ahead


def test_lines_that_come_fast_fill_windows():
    lines = [str(i) for i in range(1000)]
    found = list(windows(lines, 500))
    assert list(itertools.chain(*found)) == lines
    assert all(sum(map(len, window)) < 505 for window in found)
    assert len(found) < 12


def test_a_slow_pipe_is_answered_before_it_ends():
    pause = threading.Event()

    def slow():
        yield "first"
        pause.wait(timeout=20)
        yield "second"

    stream = translator().stream(slow())
    assert next(stream).text == "first"
    assert not pause.is_set()
    pause.set()
    assert [t.text for t in stream] == ["second"]


def test_an_endless_input_is_read_only_a_little_ahead():
    asked = 0

    def endless():
        nonlocal asked
        while True:
            asked += 1
            yield "abc"

    stream = windows(endless(), 300)
    assert next(stream) == ["abc"] * 100
    time.sleep(0.1)
    assert asked <= 210
    stream.close()
    before = -1
    while asked != before:  # the reader may be in the middle of a line
        assert asked < 1000
        before = asked
        time.sleep(0.1)


def test_lines_before_an_error_come_before_it():
    def failing():
        yield "a"
        yield "b"
        raise DataError("line 3")

    stream = translator().stream(failing())
    assert [next(stream).text, next(stream).text] == ["a", "b"]
    with pytest.raises(DataError, match="line 3"):
        next(stream)


def test_empty_lines_do_not_pile_up_without_end(monkeypatch):
    monkeypatch.setattr(reading_ahead, "_MAX_LINES", 10)
    assert max(map(len, windows([""] * 95, 1000))) == 10
    assert list(windows([], 1000)) == []


SHORT_LINES = st.lists(st.text("ab", max_size=9), max_size=30)


@given(SHORT_LINES, st.integers(1, 20), st.integers(1, 10))
def test_windows_of_a_file_are_those_of_its_blocks(lines, characters, block):
    found = list(fixed_windows(lines, characters, block))
    assert list(itertools.chain(*found)) == lines
    assert all(len(window) == 1 or sum(map(len, window)) <= characters for window in found)
    blocks = [lines[n : n + block] for n in range(0, len(lines), block)]
    assert found == [w for alone in blocks for w in fixed_windows(alone, characters, 99)]
    assert len(found) <= sum(1 + sum(map(len, alone)) * 2 // characters for alone in blocks)


def test_a_window_of_a_file_comes_before_the_error_behind_it():
    def failing():
        yield from "abc"
        raise DataError("line 4")

    found = fixed_windows(failing(), 2, 99)
    assert [next(found), next(found)] == [["a", "b"], ["c"]]
    with pytest.raises(DataError, match="line 4"):
        next(found)


# Scoring


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_scores_agree_with_what_search_reports(penalty):
    segmenters = characters()
    model = random_model(segmenters)
    config = replace(CONFIG, beam_size=3, n_best=3, length_penalty=penalty, max_length=9)
    found = list(Translator(model, segmenters, config, "cpu").stream(LINES))
    scorer = Scorer(model, segmenters, config, "cpu")
    for rank in (0, 1, 2):
        ranked = [(t, *t.alternatives)[rank] for t in found]
        scored = list(scorer.stream(zip(LINES, [c.tokens for c in ranked], strict=True)))
        for candidate, pair in zip(ranked, scored, strict=True):
            assert pair.score == pytest.approx(candidate.score, abs=1e-5)
            assert pair.tokens == (*candidate.tokens, "</s>")
            assert pair.log_prob == pytest.approx(sum(pair.token_log_probs))
            assert len(pair.tokens) == len(pair.token_log_probs)
    same = [t for t in found if segmenters.target.encode([t.text])[0] == ids(segmenters, t)]
    assert len(same) > len(found) // 2, "no text was segmented as it was found"
    for translation, pair in zip(
        same, scorer.score([(line_of(found, t), t.text) for t in same]), strict=True
    ):
        assert pair.score == pytest.approx(translation.score, abs=1e-5)


def ids(segmenters, translation):
    place_of = {piece: i for i, piece in enumerate(segmenters.target.pieces)}
    return [place_of[piece] for piece in translation.tokens]


def line_of(found, translation):
    return LINES[next(i for i, t in enumerate(found) if t is translation)]


def test_scores_do_not_depend_on_the_batch():
    segmenters = characters()
    model = random_model(segmenters)
    pairs = list(zip(LINES, LINES[::-1], strict=True))
    one, other = (
        Scorer(model, segmenters, replace(CONFIG, batch_tokens=n), "cpu").score(pairs)
        for n in (40, 4000)
    )
    assert [p.log_prob for p in one] == pytest.approx([p.log_prob for p in other], rel=1e-5)


def test_a_pair_that_is_too_long_is_counted_and_not_scored():
    segmenters = characters()
    scorer = Scorer(random_model(segmenters), segmenters, CONFIG, "cpu")
    summary = Summary()
    for pair in scorer.stream([("a", "b"), ("a" * 321, "b"), ("", "")]):
        summary.add(pair)
    assert (summary.pairs, summary.skipped, summary.tokens, summary.blank) == (3, 1, 2, 1)
    assert 1 < summary.perplexity < 10_000
    assert str(Summary().perplexity) == "nan"


def test_unknown_pieces_are_named():
    segmenters = characters()
    scorer = Scorer(random_model(segmenters), segmenters, CONFIG, "cpu")
    with pytest.raises(DataError, match="'abc' is not a piece"):
        scorer.score([("a", ["abc"])])
