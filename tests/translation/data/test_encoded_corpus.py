"""Encoded corpora: what goes in comes out."""

import json
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtrans.errors import DataError
from seqtrans.translation.data import corpus_files
from seqtrans.translation.data.batch import collate_pairs
from seqtrans.translation.data.corpus_files import encode_corpus, open_corpus
from seqtrans.translation.data.encoded_corpus import corpus_of
from seqtrans.translation.data.length_filter import FilterConfig
from seqtrans.translation.data.synthetic import synthetic_pairs
from seqtrans.translation.protocols import Specials
from seqtrans.translation.tokenization.segmenters import Segmenters


@dataclass
class CodePoints:
    """Ids are code points; the vocabulary ends before ``size``."""

    size: int = 256
    specials = Specials(0, 1, 2, 3)

    @property
    def pieces(self):
        return range(self.size)  # as good as pieces: only their number matters

    def encode(self, lines):
        return [list(map(ord, line)) for line in lines]

    def sample(self, lines, seed):  # noqa: ARG002
        return self.encode(lines)

    def decode(self, ids):
        return "".join(map(chr, ids))

    def to_bytes(self):
        return str(self.size).encode()


LATIN = Segmenters(CodePoints(), CodePoints())
WIDE = Segmenters(CodePoints(65_536), CodePoints(0x110000))


def encode(pairs, folder, segmenters=WIDE, limits=None, keep_text=True):
    folder.mkdir()
    return encode_corpus(pairs, segmenters, limits, keep_text=keep_text, folder=folder)


def texts(corpus):
    pairs = zip(corpus.source, corpus.target, strict=True)
    return [("".join(map(chr, s)), "".join(map(chr, t))) for s, t in pairs]


bmp = st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"])
sentence_pairs = st.lists(st.tuples(st.text(bmp, max_size=9), st.text(max_size=9)), max_size=9)


@settings(deadline=None, max_examples=25)
@given(sentence_pairs, st.sampled_from([1, 2, 4096]), st.sampled_from([1, 5, 1 << 21]))
def test_what_goes_in_comes_out(tmp_path_factory, pairs, chunk_pairs, chunk_characters):
    folder = tmp_path_factory.mktemp("corpus") / "it"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus_files, "_CHUNK_PAIRS", chunk_pairs)
        patch.setattr(corpus_files, "_CHUNK_CHARACTERS", chunk_characters)
        report = encode(pairs, folder)
    corpus = open_corpus(folder)
    assert texts(corpus) == pairs
    assert list(zip(corpus.source_text, corpus.target_text, strict=True)) == pairs
    assert corpus.source_lengths.tolist() == [len(s) for s, _ in pairs]
    assert corpus.target_lengths.tolist() == [len(t) for _, t in pairs]
    assert len(corpus) == report.kept == corpus.report.kept == len(pairs)


def test_what_the_filter_leaves_out_is_reported_and_its_text_too(tmp_path):
    pairs = [("aa", "bb"), ("", "bb"), ("aaaaaa", "b"), ("a", "bbb"), ("cc", "c")]
    report = encode(pairs, tmp_path / "it", LATIN, FilterConfig(max_tokens=5, max_ratio=2.5))
    corpus = open_corpus(tmp_path / "it")
    assert texts(corpus) == [("aa", "bb"), ("cc", "c")]
    assert [*corpus.source_text] == ["aa", "cc"]
    assert [*corpus.target_text] == ["bb", "c"]
    assert corpus.report == report
    assert {k: n for k, n in report.as_dict().items() if n} == {
        "kept": 2,
        "empty_source": 1,
        "long_source": 1,
        "ratio": 1,
    }


def test_ids_take_two_bytes_where_the_vocabulary_allows(tmp_path):
    encode([("a\uffff", "\U0010ffff")], tmp_path / "it")
    corpus = open_corpus(tmp_path / "it")
    assert corpus.source[0].dtype == np.dtype("<u2")
    assert corpus.source[0].tolist() == [97, 65_535]
    assert corpus.target[0].dtype == np.dtype("<u4")
    assert corpus.target[0].tolist() == [0x10FFFF]


@pytest.mark.parametrize(("size", "element"), [(65_536, "<u2"), (65_537, "<u4")])
def test_the_largest_id_decides_how_many_bytes_it_takes(tmp_path, size, element):
    encode([("a", "b")], tmp_path / "it", Segmenters(CodePoints(size), CodePoints(size)))
    corpus = open_corpus(tmp_path / "it")
    assert corpus.source[0].dtype == corpus.target[0].dtype == np.dtype(element)


def test_rows_are_counted_from_both_ends_and_read_only(tmp_path):
    encode([("a", "b"), ("cd", "ef")], tmp_path / "it")
    rows = open_corpus(tmp_path / "it").source
    assert rows[-1].tolist() == rows[np.uint32(1)].tolist() == [99, 100]
    for outside in (2, -3):
        with pytest.raises(IndexError):
            rows[outside]
    with pytest.raises(ValueError, match="read-only"):
        rows[0][0] = 1


def test_pairs_of_a_corpus_collate_like_lists(tmp_path):
    pairs = [("ab", "c"), ("", "def"), ("g", "")]
    encode(pairs, tmp_path / "it")
    corpus = open_corpus(tmp_path / "it")
    lists = [([*map(ord, s)], [*map(ord, t)]) for s, t in pairs]
    specials = Specials(0, 1, 2, 3)
    mapped = collate_pairs(corpus.pairs(np.array([2, 0], "<u4")), specials, specials)
    listed = collate_pairs([lists[2], lists[0]], specials, specials)
    in_memory = collate_pairs(corpus_of(lists).pairs([2, 0]), specials, specials)
    sources = [batch.source.tokens.tolist() for batch in (mapped, listed, in_memory)]
    assert sources[0] == sources[1] == sources[2]
    assert mapped.target_output.tolist() == listed.target_output.tolist()
    assert len(corpus_of([])) == 0


@pytest.mark.parametrize(
    "change",
    [{"format": 1}, {"pairs": 2}, {"pairs": "3"}, {"rows": {}}, {"rows": []}, {"report": 1}],
    ids=str,
)
def test_a_description_that_does_not_fit_is_refused(tmp_path, change):
    encode([("a", "b"), ("cd", "ef"), ("g", "h")], tmp_path / "it")
    meta = json.loads((tmp_path / "it/meta.json").read_text()) | change
    (tmp_path / "it/meta.json").write_text(json.dumps(meta))
    with pytest.raises(DataError, match="damaged encoded corpus"):
        open_corpus(tmp_path / "it")


def test_offsets_of_another_corpus_are_refused(tmp_path):
    encode([("a", "bc")], tmp_path / "it")
    encode([("ab", "c")], tmp_path / "other")
    (tmp_path / "other/source.offsets").replace(tmp_path / "it/source.offsets")
    with pytest.raises(DataError, match="rows end at 2, not 1"):
        open_corpus(tmp_path / "it")


def test_elements_are_plain_integers_only(tmp_path):
    encode([("a", "b")], tmp_path / "it")
    meta = json.loads((tmp_path / "it/meta.json").read_text())
    meta["rows"]["source"]["element"] = "|O"
    (tmp_path / "it/meta.json").write_text(json.dumps(meta))
    with pytest.raises(DataError, match="can't be"):
        open_corpus(tmp_path / "it")


@pytest.mark.parametrize(
    ("rule", "apply"), [("copy", list), ("reverse", lambda s: s[::-1]), ("sort", sorted)]
)
def test_synthetic_pairs_follow_their_rule(rule, apply):
    pairs = list(synthetic_pairs(rule, 5000, seed=1, max_tokens=7, num_symbols=4))
    numbers = [([*map(int, s.split())], [*map(int, t.split())]) for s, t in pairs]
    assert all(apply(source) == target for source, target in numbers)
    assert {len(source) for source, _ in numbers} == set(range(1, 8))
    assert {symbol for source, _ in numbers for symbol in source} == {0, 1, 2, 3}
    assert pairs[:10] == list(synthetic_pairs(rule, 10, seed=1, max_tokens=7, num_symbols=4))
    assert pairs[:10] != list(synthetic_pairs(rule, 10, seed=2, max_tokens=7, num_symbols=4))
