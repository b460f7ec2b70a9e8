import itertools
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
import sentencepiece

from seqtrans.errors import DataError, RecipeError
from seqtrans.translation.tokenization.config import BpeDropout, SubwordConfig, UnigramSampling
from seqtrans.translation.tokenization.sampling.model_file import read_subword_model
from seqtrans.translation.tokenization.sentencepiece_segmenter import (
    SubwordSegmenter,
    train_subwords,
)

SYLLABLES = ["ha", "lo", "mi", "tren", "kas", "u", "vor", "gel", "ste"]
WORDS = ["".join(part) for part in itertools.product(SYLLABLES, repeat=3)]
LINES = [" ".join(WORDS[(i * i + 31 * j) % len(WORDS)] for j in range(9)) for i in range(300)]


def train(lines=LINES, **settings):
    config = SubwordConfig(**{"vocab_size": 100, "byte_fallback": False, **settings})
    return SubwordSegmenter(train_subwords(lines, config), config.sampling)


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_training_twice_gives_the_same_file(model_type):
    for size in (101, 100_000):
        config = SubwordConfig(vocab_size=300, model_type=model_type, input_sentence_size=size)
        assert train_subwords(LINES, config) == train_subwords(iter(LINES), config)


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_lines_are_drawn_where_there_are_too_many(model_type):
    settings = {"model_type": model_type, "vocab_size": 60}
    drawn = train(input_sentence_size=101, **settings).pieces
    assert drawn != train(**settings).pieces  # not all
    assert drawn != train(LINES[:101], **settings).pieces  # not the first


def test_byte_fallback_leaves_nothing_unknown():
    text = "漢字 und 😀"
    with_bytes = train(vocab_size=400, byte_fallback=True)
    assert with_bytes.decode(with_bytes.encode([text])[0]) == text
    without = train()
    assert without.specials.unk in without.encode([text])[0]


def test_user_defined_symbols_are_one_piece_anywhere():
    segmenter = train(user_defined_symbols=("<de>", "a,b"))
    ids = segmenter.encode(["halo<de>mi a,b"])[0]
    assert [segmenter.pieces[i] for i in ids].count("<de>") == 1
    assert [segmenter.pieces[i] for i in ids].count("a,b") == 1
    assert segmenter.decode(ids) == "halo<de>mi a,b"


def test_rare_characters_are_left_out_by_coverage():
    assert "ж" in train(["ж", *LINES], character_coverage=1.0).pieces
    assert "ж" not in train(["ж", *LINES], character_coverage=0.999).pieces


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_a_vocabulary_too_large_names_the_largest(model_type):
    said = r"^vocab_size 90000 is too large for the training text; it can be at most \d+$"
    with pytest.raises(RecipeError, match=said) as error:
        train(vocab_size=90_000, model_type=model_type)
    largest = int(str(error.value).rpartition(" ")[2])
    assert len(train(vocab_size=largest, model_type=model_type).pieces) == largest


def test_a_vocabulary_too_small_names_the_smallest():
    with pytest.raises(RecipeError, match=r"^vocab_size 10 is too small: there are \d+ .*; raise"):
        train(vocab_size=10)


@pytest.mark.parametrize("lines", [[], ["", " \t\u2028"]])
def test_a_blank_text_is_refused(lines):
    with pytest.raises(DataError, match=r"^the training text is blank"):
        train(lines)


def test_blank_lines_do_no_harm():
    assert train(["", " ", *LINES, ""]).pieces == train().pieces


def test_a_long_line_teaches_too():
    long = " ".join(LINES)
    assert len(long) > 20_000
    assert len(train([long]).encode([LINES[0]])[0]) < len(LINES[0]) / 2


@pytest.mark.parametrize("sampling", [UnigramSampling(alpha=0.1), BpeDropout(probability=0.3)])
def test_samples_do_not_depend_on_the_past_or_the_thread(sampling):
    model_type = "unigram" if sampling.kind == "unigram" else "bpe"
    segmenter = train(model_type=model_type, sampling=sampling)
    first = segmenter.sample(LINES, 3)

    def work(number):
        segmenter.sample(LINES[number:], number)
        return segmenter.sample(LINES, 3)

    with ThreadPoolExecutor(max_workers=4) as pool:
        assert all(result == first for result in pool.map(work, range(8)))
    assert len({str(segmenter.sample(LINES, seed)) for seed in range(20)}) == 20


def test_a_seed_is_not_taken_by_another_thread(monkeypatch):
    segmenter = train(sampling=UnigramSampling())
    alone = [segmenter.sample(LINES, seed) for seed in range(6)]
    seed_now = sentencepiece.set_random_generator_seed

    def seed_and_dawdle(seed):
        seed_now(seed)
        time.sleep(0.01)

    monkeypatch.setattr(sentencepiece, "set_random_generator_seed", seed_and_dawdle)
    with ThreadPoolExecutor(max_workers=6) as pool:
        assert list(pool.map(lambda seed: segmenter.sample(LINES, seed), range(6))) == alone


def test_samples_are_among_the_best_asked_for():
    segmenter = train(sampling=UnigramSampling(alpha=0.1, nbest_size=2))
    for line in LINES[:5]:
        assert len({str(segmenter.sample([line], seed)) for seed in range(30)}) == 2


def test_stronger_sampling_gives_more_pieces():
    def pieces(probability):
        sampling = BpeDropout(probability=probability)
        return sum(map(len, train(model_type="bpe", sampling=sampling).sample(LINES, 1)))

    counts = [pieces(probability) for probability in (0.0, 0.3, 0.9)]
    assert counts[0] * 1.1 < counts[1]
    assert counts[1] * 1.1 < counts[2]


@pytest.mark.parametrize(
    ("rule", "shown"),
    [
        ("nmt_nfkc", "fin HALO"),
        ("nfkc", "fin HALO"),
        ("nmt_nfkc_cf", "fin halo"),
        ("nfkc_cf", "fin halo"),
        ("identity", "ﬁn HALO"),
    ],
)
def test_text_is_normalized_as_asked(rule, shown):
    segmenter = train(vocab_size=400, byte_fallback=True, normalization=rule)
    assert segmenter.decode(segmenter.encode([" ﬁn  HALO "])[0]) == shown


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"model_type": "bpe", "sampling": UnigramSampling()}, "bpe can't be sampled by unigram"),
        ({"sampling": BpeDropout()}, "unigram can't be sampled by bpe_dropout; choose unigram"),
        ({"user_defined_symbols": ("a b",)}, "'a b' is empty or holds a space"),
        ({"user_defined_symbols": ("",)}, "'' is empty"),
        ({"user_defined_symbols": ("<x>", "<x>")}, "'<x>' is given twice"),
        ({"user_defined_symbols": ("<pad>",)}, "'<pad>' is a special token already"),
    ],
)
def test_contradictions_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        SubwordConfig(**wrong)


def message(number, content):
    return bytes([number << 3 | 2, len(content)]) + content


@pytest.mark.parametrize(
    "content",
    [
        message(1, message(1, b"a") + b"\x15\x00"),  # a score of one byte
        message(1, b"\x18\x01"),  # no text
        message(1, message(1, b"a") + b"\x18\x09"),  # of no known type
        message(1, message(1, b"\xff")),
        message(2, b"\x18\x09"),
        message(2, b"\x18\x00"),
        b"\x0b",
        b"\x0a\xff",
        b"\x08\x01",
    ],
)
def test_what_is_no_model_is_refused(content):
    with pytest.raises(ValueError, match=r"\w"):
        read_subword_model(content)


def test_other_threads_go_on_while_a_vocabulary_is_trained():
    """One of them tells other processes that this one is alive; see ``training.meeting``."""
    draw, beats, over = random.Random(1), [time.monotonic()], threading.Event()  # noqa: S311
    words = ["".join(draw.choices("abcdefghijklmnop", k=draw.randint(2, 9))) for _ in range(20_000)]

    def beat():
        while not over.wait(0.01):
            beats.append(time.monotonic())

    thread = threading.Thread(target=beat)
    thread.start()
    train_subwords(words, SubwordConfig(vocab_size=500))
    beats.append(time.monotonic())
    over.set()
    thread.join()
    longest = max(later - earlier for earlier, later in pairwise(beats))
    assert beats[-1] - beats[0] > 0.5
    assert longest < (beats[-1] - beats[0]) / 2
