"""What every Segmenter must do, whatever it segments into."""

import io

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from seqtrans.translation.tokenization.config import (
    BpeDropout,
    ExistingSubwordConfig,
    SubwordConfig,
    UnigramSampling,
)
from seqtrans.translation.tokenization.segmenters import (
    fingerprint,
    load_segmenters,
    train_segmenters,
)
from seqtrans.translation.tokenization.words_and_characters import CharactersConfig, WordsConfig

STEMS = ["haus", "garten", "baum", "grün", "größer", "lesen", "heute", "nicht", "x1", "naïve", "öl"]
WORDS = [
    start + stem + end
    for start in ("", "Ge", "ver", "un")
    for stem in STEMS
    for end in ("", "en", "er;")
]
LINES = [" ".join(WORDS[(i * i + 7 * j) % len(WORDS)] for j in range(8)) for i in range(300)]
NASTY = [
    "",
    " ",
    "\t\u2028 \u00a0",
    "a\nb\r\nc",
    "\x00",
    "a\x00b\x01\x1b[31m",
    "<s> </s> <pad> <unk>",
    "▁▁ ▁",
    "<0x0A><0x0D>",
    "漢字 ไทย 😀‍🔥",
    "\ud800",
    "\ufeff",
    "x" * 100_000,
    "a b " * 25_000,
]


def small(**settings):
    return SubwordConfig(vocab_size=310 if settings.get("byte_fallback", True) else 70, **settings)


def foreign_model(folder):
    """A model made elsewhere: no pad and no BOS, ids in another order."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES),
        model_writer=model,
        vocab_size=60,
        unk_id=0,
        bos_id=-1,
        eos_id=1,
        minloglevel=2,
    )
    path = folder / "foreign.model"
    path.write_bytes(model.getvalue())
    return ExistingSubwordConfig(model=path, sampling=UnigramSampling(alpha=0.2))


CONFIGS = {
    "unigram": small(),
    "unigram sampled": small(sampling=UnigramSampling(alpha=0.1)),
    "unigram nbest": small(sampling=UnigramSampling(alpha=0.1, nbest_size=16)),
    "unigram no bytes": small(byte_fallback=False),
    "bpe": small(model_type="bpe"),
    "bpe sampled": small(model_type="bpe", sampling=BpeDropout(probability=0.3), joint=False),
    "identity": small(normalization="identity"),
    "existing": None,
    "words": WordsConfig(),
    "characters": CharactersConfig(),
}
SAMPLED = {"unigram sampled", "unigram nbest", "bpe sampled", "existing"}


@pytest.fixture(scope="module", params=CONFIGS)
def made(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    config = CONFIGS[request.param] or foreign_model(folder)
    pairs = lambda: ((line, line) for line in LINES)  # noqa: E731
    return request.param, train_segmenters(config, pairs, folder / "vocabulary"), folder


@pytest.fixture(scope="module")
def segmenter(made):
    return made[1].target


def test_special_ids_are_four_and_have_pieces(segmenter):
    assert len(set(segmenter.specials)) == 4
    assert all(0 <= i < len(segmenter.pieces) for i in segmenter.specials)
    assert all(isinstance(piece, str) for piece in segmenter.pieces)


def test_known_text_comes_back(segmenter):
    assert [segmenter.decode(ids) for ids in segmenter.encode(LINES)] == LINES


def test_a_line_does_not_depend_on_its_neighbours(segmenter):
    together = segmenter.encode([*NASTY, *LINES])
    assert together == [segmenter.encode([line])[0] for line in [*NASTY, *LINES]]


def test_text_never_gives_pad_bos_or_eos(segmenter):
    pad, bos, eos, _ = segmenter.specials
    for ids in map(set, segmenter.encode(NASTY)):
        assert not {pad, bos, eos} & ids
        assert all(0 <= i < len(segmenter.pieces) for i in ids)


def test_blank_lines_are_empty(made):
    for segmenter in made[1]:
        assert segmenter.encode(["", " ", "\t ", "\u3000\u00a0"]) == [[], [], [], []]
        assert segmenter.sample(["", "\u3000\t"], 1) == [[], []]
        assert segmenter.encode([""]) == [[]]
        assert segmenter.encode([]) == []


@given(line=st.text(max_size=20))
def test_any_text_survives(segmenter, line):
    decoded = segmenter.decode(segmenter.encode([line])[0])
    assert not {"\n", "\r"} & set(decoded)


def test_any_ids_decode_to_one_line(segmenter):
    everything = range(len(segmenter.pieces))
    texts = [segmenter.decode([i]) for i in everything]
    texts += [segmenter.decode([i, j]) for i in list(everything)[:20] for j in everything]
    texts.append(segmenter.decode(list(everything)))
    assert not {"\n", "\r"} & set("".join(texts))


def test_special_ids_are_left_out_wherever_they_are(segmenter):
    ids = segmenter.encode(LINES[:1])[0]
    assert segmenter.decode([*segmenter.specials, *ids, *segmenter.specials]) == LINES[0]
    assert segmenter.decode(list(segmenter.specials)) == ""


def test_sampling_is_a_pure_function_of_lines_and_seed(made):
    name, segmenters, _ = made
    first = segmenters.target.sample(LINES, 7)
    other = segmenters.target.sample(LINES, 8)
    segmenters.source.sample(LINES[:3], 9)
    assert segmenters.target.sample(LINES, 7) == first
    assert (first != other) == (name in SAMPLED)
    assert (first != segmenters.target.encode(LINES)) == (name in SAMPLED)


def test_samples_are_the_same_text(segmenter):
    for seed in (0, 1, 2**40, -3):
        assert [segmenter.decode(ids) for ids in segmenter.sample(LINES, seed)] == LINES


def test_the_stored_segmenter_is_the_same(made):
    name, segmenters, folder = made
    loaded = load_segmenters(folder / "vocabulary")
    assert loaded.is_joint == segmenters.is_joint == (name not in {"bpe sampled", "words"})
    for old, new in zip(segmenters, loaded, strict=True):
        assert old.specials == new.specials
        assert list(old.pieces) == list(new.pieces)
        assert old.encode([*LINES, *NASTY]) == new.encode([*LINES, *NASTY])
        assert old.sample(LINES, 5) == new.sample(LINES, 5)
    assert fingerprint(loaded) == fingerprint(segmenters)
