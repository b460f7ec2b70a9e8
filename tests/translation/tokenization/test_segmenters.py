import hashlib
import itertools
from dataclasses import replace

import pytest
import sentencepiece

from seqtrans.errors import CheckpointError, DataError, RecipeError
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
from seqtrans.translation.tokenization.sentencepiece_segmenter import train_subwords
from seqtrans.translation.tokenization.vocabulary import SPECIALS, build_vocabulary
from seqtrans.translation.tokenization.words_and_characters import CharactersConfig, WordsConfig

SYLLABLES = ["ha", "lo", "mi", "tren", "kas", "u", "vor", "gel", "ste"]
WORDS = ["".join(part) for part in itertools.product(SYLLABLES, repeat=3)]
LINES = [" ".join(WORDS[(i * i + 31 * j) % len(WORDS)] for j in range(9)) for i in range(300)]
PAIRS = [(line, line.upper()) for line in LINES]
SMALL = SubwordConfig(vocab_size=100, byte_fallback=False)


def train(config, folder, pairs=PAIRS):
    return train_segmenters(config, lambda: iter(pairs), folder)


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


@pytest.mark.parametrize(
    ("kind", "sizes", "settings"),
    [
        (SubwordConfig, (60, 70), {"byte_fallback": False}),
        (WordsConfig, (60, 70), {}),
        (CharactersConfig, (8, 12), {}),
    ],
)
def test_each_language_has_a_vocabulary_of_its_own_size(tmp_path, kind, sizes, settings):
    config = kind(vocab_size=sizes[0], target_vocab_size=sizes[1], joint=False, **settings)
    train(config, tmp_path)
    assert tuple(len(segmenter.pieces) for segmenter in load_segmenters(tmp_path)) == sizes


@pytest.mark.parametrize("kind", [SubwordConfig, WordsConfig, CharactersConfig])
def test_one_vocabulary_has_one_size(kind):
    with pytest.raises(ValueError, match="target_vocab_size 30 contradicts joint"):
        kind(joint=True, target_vocab_size=30)


def test_the_language_whose_vocabulary_is_too_large_is_named(tmp_path):
    config = SubwordConfig(vocab_size=60, target_vocab_size=9000, byte_fallback=False, joint=False)
    with pytest.raises(RecipeError, match=r"^target vocabulary: vocab_size 9000 is too large for"):
        train(config, tmp_path)


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
        with pytest.raises(DataError, match=r"x\.model: is not a sentencepiece model"):
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
    monkeypatch.setattr("seqtrans.translation.tokenization.vocabulary._MOST_COUNTED", 3)
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


def test_another_run_may_sample_otherwise(tmp_path):
    stored = train(SMALL, tmp_path)
    sampled = SubwordConfig(vocab_size=9, sampling=UnigramSampling(alpha=0.1))
    other = load_segmenters(tmp_path, sampled)
    assert fingerprint(other) == fingerprint(stored)
    assert stored.source.sample(LINES, 1) == stored.source.encode(LINES)
    assert other.source.sample(LINES, 1) != stored.source.encode(LINES)
    with pytest.raises(CheckpointError, match=r"joint\.model: can't be sampled by bpe_dropout"):
        load_segmenters(tmp_path, ExistingSubwordConfig(model=tmp_path, sampling=BpeDropout()))
    assert load_segmenters(tmp_path, WordsConfig()).source.sample(LINES, 1)


def test_a_vocabulary_from_before_sides_had_rules_encodes_as_it_did(tmp_path):
    """Its index names one rule, which the one file of both languages has built in."""
    lines = [f"{line} ²ﬁ" for line in LINES]
    rule = replace(SMALL, normalization="nmt_nfkc")
    train(rule, tmp_path, [(line, line) for line in lines])
    index = (tmp_path / "segmentation.yaml").read_text()
    assert "  target_normalization: null\n" in index
    (tmp_path / "segmentation.yaml").write_text(index.replace("  target_normalization: null\n", ""))
    both = load_segmenters(tmp_path)
    assert both.source is both.target
    alone = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "joint.model"))
    assert both.target.encode(lines) == alone.encode(lines)
    assert both.target.decode(both.target.encode(["halo ²"])[0]) == "halo 2"


def test_one_vocabulary_in_two_files_is_joint(tmp_path):
    both = train(SMALL, tmp_path / "a")
    assert sorted(file.name for file in (tmp_path / "a").iterdir()) == [
        "joint.model",
        "segmentation.yaml",
        "source.model",
    ]
    assert both.is_joint
    assert both.source is not both.target
    assert load_segmenters(tmp_path / "a").is_joint
    train(replace(SMALL, vocab_size=90), tmp_path / "b")
    other = (tmp_path / "b" / "source.model").read_bytes()
    (tmp_path / "a" / "source.model").write_bytes(other)
    index = tmp_path / "a" / "segmentation.yaml"
    own = hashlib.sha256(both.source.to_bytes()).hexdigest()
    index.write_text(index.read_text().replace(own, hashlib.sha256(other).hexdigest()))
    with pytest.raises(
        CheckpointError, match=r"source\.model: has other pieces than the other file"
    ):
        load_segmenters(tmp_path / "a")


def test_fingerprints_tell_rules_apart(tmp_path):
    rules = [None, "nmt_nfkc", "nfkc", "identity"]
    made = {
        fingerprint(train(replace(SMALL, normalization=rule), tmp_path / str(rule)))
        for rule in rules
    }
    assert len(made) == len(rules)
