import itertools
import threading

import pytest

from seqtrans.data.segmentation import fingerprint, load_segmenters, train_segmenters
from seqtrans.data.subword import (
    BpeDropout,
    ExistingSubwordConfig,
    SubwordConfig,
    SubwordSegmenter,
    UnigramSampling,
    train_subwords,
)
from seqtrans.data.tokens import CharactersConfig, WordsConfig
from seqtrans.data.vocabulary import SPECIALS, build_vocabulary
from seqtrans.errors import CheckpointError, DataError, RecipeError

SYLLABLES = ["ha", "lo", "mi", "tren", "kas", "u", "vor", "gel", "ste"]
WORDS = ["".join(part) for part in itertools.product(SYLLABLES, repeat=3)]
LINES = [" ".join(WORDS[(i * i + 31 * j) % len(WORDS)] for j in range(9)) for i in range(300)]
PAIRS = [(line, line.upper()) for line in LINES]
SMALL = SubwordConfig(vocab_size=100, byte_fallback=False)


def train(config, folder, pairs=PAIRS):
    return train_segmenters(config, lambda: iter(pairs), folder)


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_training_twice_gives_the_same_file(model_type):
    config = SubwordConfig(vocab_size=100, model_type=model_type, byte_fallback=False)
    part = SubwordConfig(
        vocab_size=60, model_type=model_type, byte_fallback=False, input_sentence_size=101
    )
    for each in (config, part):
        assert train_subwords(LINES, each) == train_subwords(iter(LINES), each)
    assert train_subwords(LINES, part) != train_subwords(LINES[:101], part)  # drawn, not the first


def test_vocabulary_size_and_special_ids_are_as_asked(tmp_path):
    both = train(SMALL, tmp_path)
    assert both.is_joint
    assert len(both.source.pieces) == 100
    assert both.source.specials == SPECIALS == (0, 1, 2, 3)


def test_each_language_has_its_own_vocabulary_unless_joint(tmp_path):
    both = train(SubwordConfig(vocab_size=60, byte_fallback=False, joint=False), tmp_path)
    assert not both.is_joint
    lower, upper = ("".join(segmenter.pieces[4:]) for segmenter in both)
    assert lower.islower()
    assert upper.isupper()
    assert fingerprint(both) == fingerprint(load_segmenters(tmp_path))
    assert fingerprint(both) != fingerprint(both._replace(target=both.source))


def test_byte_fallback_leaves_nothing_unknown(tmp_path):
    text = "漢字 und 😀"
    with_bytes = train(SubwordConfig(vocab_size=400), tmp_path / "a").source
    assert with_bytes.decode(with_bytes.encode([text])[0]) == text
    without = train(SMALL, tmp_path / "b").source
    assert without.specials.unk in without.encode([text])[0]


def test_user_defined_symbols_are_one_piece_anywhere(tmp_path):
    config = SubwordConfig(
        vocab_size=100, byte_fallback=False, user_defined_symbols=("<de>", "a,b")
    )
    segmenter = train(config, tmp_path).source
    ids = segmenter.encode(["halo<de>mi a,b"])[0]
    assert [segmenter.pieces[i] for i in ids].count("<de>") == 1
    assert [segmenter.pieces[i] for i in ids].count("a,b") == 1
    assert segmenter.decode(ids) == "halo<de>mi a,b"


def test_rare_characters_are_left_out_by_coverage():
    rare = ["ж", *LINES]
    everything = SubwordConfig(vocab_size=100, byte_fallback=False, character_coverage=1.0)
    most = SubwordConfig(vocab_size=100, byte_fallback=False, character_coverage=0.999)
    assert "ж" in SubwordSegmenter(train_subwords(rare, everything)).pieces
    assert "ж" not in SubwordSegmenter(train_subwords(rare, most)).pieces


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_a_vocabulary_too_large_names_the_largest(tmp_path, model_type):
    config = SubwordConfig(vocab_size=90_000, model_type=model_type)
    with pytest.raises(
        RecipeError, match=r"^vocab_size 90000 is more than the training text holds"
    ):
        train(config, tmp_path)
    with pytest.raises(RecipeError) as error:
        train(config, tmp_path)
    largest = int(str(error.value).rpartition(" ")[2])
    fits = train(SubwordConfig(vocab_size=largest, model_type=model_type), tmp_path)
    assert len(fits.source.pieces) == largest


def test_a_vocabulary_too_small_names_the_smallest(tmp_path):
    with pytest.raises(RecipeError, match=r"^vocab_size 10 is too small: .* alone are \d+; raise"):
        train(SubwordConfig(vocab_size=10), tmp_path)


@pytest.mark.parametrize("config", [SMALL, WordsConfig(), CharactersConfig()])
@pytest.mark.parametrize("pairs", [[], [("", " "), ("", "")]])
def test_a_blank_text_is_refused(tmp_path, config, pairs):
    with pytest.raises(DataError, match="the training text"):
        train(config, tmp_path, pairs)


@pytest.mark.parametrize("config", [SMALL, WordsConfig(), CharactersConfig()])
def test_an_error_while_reading_comes_through(tmp_path, config):
    def broken():
        yield from PAIRS
        raise DataError("text.de:301: not UTF-8")

    with pytest.raises(DataError, match=r"^text\.de:301: not UTF-8$"):
        train_segmenters(config, broken, tmp_path)


def test_a_long_line_teaches_too(tmp_path):
    long = " ".join(LINES)
    assert len(long) > 20_000
    segmenter = train(SMALL, tmp_path, [(long, long)]).source
    assert len(segmenter.encode([LINES[0]])[0]) < len(LINES[0]) / 2


@pytest.mark.parametrize(
    ("config", "sampling"),
    [("unigram", UnigramSampling(alpha=0.1)), ("bpe", BpeDropout(probability=0.3))],
)
def test_samples_do_not_depend_on_the_past_or_the_thread(tmp_path, config, sampling):
    settings = SubwordConfig(
        vocab_size=100, model_type=config, byte_fallback=False, sampling=sampling
    )
    segmenter = train(settings, tmp_path).source
    first = segmenter.sample(LINES, 3)
    found = {}

    def work(number):
        segmenter.sample(LINES[number:], number)
        found[number] = segmenter.sample(LINES, 3)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert all(result == first for result in found.values())
    assert len({str(segmenter.sample(LINES, seed)) for seed in range(20)}) == 20


def test_stronger_sampling_gives_more_pieces(tmp_path):
    def pieces(sampling, number):
        config = SubwordConfig(
            vocab_size=100, model_type="bpe", byte_fallback=False, sampling=sampling
        )
        return sum(map(len, train(config, tmp_path / str(number)).source.sample(LINES, 1)))

    counts = [pieces(BpeDropout(probability=p), n) for n, p in enumerate((0.0, 0.3, 0.9))]
    assert counts[0] * 1.1 < counts[1]
    assert counts[1] * 1.1 < counts[2]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"model_type": "bpe", "sampling": UnigramSampling()}, "bpe can't be sampled by unigram"),
        ({"sampling": BpeDropout()}, "unigram can't be sampled by bpe_dropout; choose unigram"),
        ({"character_coverage": 0.5}, r"character_coverage 0\.5 must be at least 0\.98"),
        ({"user_defined_symbols": ("a b",)}, "'a b' is empty or holds a space"),
        ({"user_defined_symbols": ("",)}, "'' is empty"),
        ({"user_defined_symbols": ("<x>", "<x>")}, "'<x>' is given twice"),
        ({"user_defined_symbols": ("<pad>",)}, "'<pad>' is a special token already"),
    ],
)
def test_contradictions_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        SubwordConfig(**wrong)


def test_nothing_to_draw_from_is_refused():
    with pytest.raises(ValueError, match="nbest_size 1 leaves nothing"):
        UnigramSampling(nbest_size=1)


def test_an_existing_model_is_copied(tmp_path):
    (tmp_path / "one.model").write_bytes(train_subwords(LINES, SMALL))
    upper = SubwordConfig(vocab_size=60, byte_fallback=False)
    (tmp_path / "two.model").write_bytes(train_subwords([line.upper() for line in LINES], upper))
    config = ExistingSubwordConfig(
        model=tmp_path / "one.model", target_model=tmp_path / "two.model"
    )
    both = train(config, tmp_path / "vocabulary", pairs=[])
    assert (len(both.source.pieces), len(both.target.pieces)) == (100, 60)
    (tmp_path / "one.model").unlink()
    (tmp_path / "two.model").unlink()
    assert fingerprint(load_segmenters(tmp_path / "vocabulary")) == fingerprint(both)


def test_an_existing_model_that_is_none_is_named(tmp_path):
    path = tmp_path / "x.model"
    with pytest.raises(DataError, match=r"x\.model: can't read this sentencepiece model: No such"):
        train(ExistingSubwordConfig(model=path), tmp_path / "v")
    for content in (b"", b"hello world", train_subwords(LINES, SMALL)[:-20]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"x\.model: is no sentencepiece model"):
            train(ExistingSubwordConfig(model=path), tmp_path / "v")
    path.write_bytes(train_subwords(LINES, SMALL))
    with pytest.raises(DataError, match="can't be sampled by bpe_dropout; choose unigram"):
        train(ExistingSubwordConfig(model=path, sampling=BpeDropout()), tmp_path / "v")


def test_words_are_ranked_by_frequency_then_spelling():
    vocabulary = build_vocabulary([["b", "c", "b"], ["a", "c", "d", "b"]])
    assert vocabulary.tokens == ("b", "c", "a", "d")
    assert build_vocabulary([["b", "c", "b", "c", "a"]], min_count=2).tokens == ("b", "c")
    assert build_vocabulary([["b", "c", "b", "a"]], vocab_size=6).tokens == ("b", "a")


def test_counting_forgets_the_rarest_where_there_are_too_many(monkeypatch):
    monkeypatch.setattr("seqtrans.data.vocabulary._MOST_COUNTED", 3)
    lines = [["a", "b"], ["a", "b"], ["x"], ["y"], ["z"], ["b"], ["z"]]
    assert build_vocabulary(lines).tokens == ("b", "a", "z")


def test_text_that_spells_a_special_token_is_text(tmp_path):
    segmenter = train(WordsConfig(), tmp_path, [("a <pad> <s> b", "x")]).source
    ids = segmenter.encode(["a <pad> c"])[0]
    assert segmenter.specials.pad not in ids
    assert ids[2] == segmenter.specials.unk
    assert segmenter.decode(ids) == "a <pad>"


def test_unknown_words_are_unknown_and_spaces_are_one(tmp_path):
    both = train(WordsConfig(), tmp_path, [("the cat", "die Katze")])
    assert both.source.encode([" cat \t Katze\u2028the"]) == [[4, 3, 5]]
    assert both.source.decode([5, 4]) == "the cat"


@pytest.fixture(params=[SMALL, WordsConfig()], ids=["subwords", "words"])
def stored(request, tmp_path):
    folder = tmp_path / "vocabulary"
    train(request.param, folder)
    return folder


def test_every_missing_file_is_named(stored):
    names = sorted(path.name for path in stored.iterdir())
    assert "segmentation.yaml" in names
    for name in names:
        content = (stored / name).read_bytes()
        (stored / name).unlink()
        with pytest.raises(CheckpointError, match=f"{name}: no such file") as error:
            load_segmenters(stored)
        assert "\n" not in str(error.value)
        (stored / name).write_bytes(content)
    load_segmenters(stored)


def test_every_truncated_file_is_named(stored):
    for path in sorted(stored.iterdir()):
        content = path.read_bytes()
        for keep in (0, 1, len(content) // 2, len(content) - 2):
            path.write_bytes(content[:keep])
            with pytest.raises(CheckpointError, match=path.name) as error:
                load_segmenters(stored)
            assert "\n" not in str(error.value)
        path.write_bytes(content)


def test_every_foreign_file_is_named(stored):
    for path in sorted(stored.iterdir()):
        content = path.read_bytes()
        for other in (b"\xff\xfe\x00", b"hello: world\n", b"[]", b"format: 2\n"):
            path.write_bytes(other)
            with pytest.raises(CheckpointError, match=path.name) as error:
                load_segmenters(stored)
            assert "\n" not in str(error.value)
        path.write_bytes(content)


def test_a_folder_that_is_none_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"none/segmentation\.yaml: no such file"):
        load_segmenters(tmp_path / "none")


def test_the_index_holds_all_that_was_configured(tmp_path):
    config = SubwordConfig(vocab_size=100, byte_fallback=False, sampling=UnigramSampling(alpha=0.3))
    trained = train(config, tmp_path)
    assert "alpha: 0.3" in (tmp_path / "segmentation.yaml").read_text()
    assert load_segmenters(tmp_path).source.sample(LINES, 2) == trained.source.sample(LINES, 2)
    assert not list(tmp_path.glob(".*"))
