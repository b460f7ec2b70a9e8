"""Encoded corpora: what goes in comes out; the cache finds its own and nothing else."""

import json
import multiprocessing
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtrans.data import cache as cache_module
from seqtrans.data import encoded as encoded_module
from seqtrans.data.batch import collate_pairs
from seqtrans.data.cache import cached_corpus, corpus_key
from seqtrans.data.encoded import corpus_of, encode_corpus, open_corpus
from seqtrans.data.parallel import CorpusFiles, FilterConfig
from seqtrans.data.segmentation import Segmenters
from seqtrans.data.synthetic import synthetic_pairs
from seqtrans.errors import DataError
from seqtrans.protocols import Specials

FORK = multiprocessing.get_context("fork")
NO_LIMITS = FilterConfig(max_tokens=10_000)


@dataclass
class CodePoints:
    """Ids are code points; the vocabulary ends before ``size``."""

    size: int = 256
    name: str = "a"
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
        return f"{self.name} {self.size}".encode()


LATIN = Segmenters(CodePoints(), CodePoints())
WIDE = Segmenters(CodePoints(65_536), CodePoints(0x110000))


def encode(pairs, folder, segmenters=WIDE, limits=None, keep_text=True):
    folder.mkdir()
    return encode_corpus(pairs, segmenters, limits, keep_text=keep_text, folder=folder)


@pytest.fixture
def files(tmp_path):
    source, target = tmp_path / "train.en", tmp_path / "train.de"
    source.write_text("one\ntwo\nthree\n")
    target.write_text("eins\nzwei\ndrei\n")
    return CorpusFiles(source=source, target=target)


def get(tmp_path, files, segmenters=LATIN, limits=NO_LIMITS, keep_text=False):
    return cached_corpus(tmp_path / "cache", [files], segmenters, limits, keep_text=keep_text)


def folders(tmp_path):
    return [f for f in (tmp_path / "cache").iterdir() if not f.name.endswith(".lock")]


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
        patch.setattr(encoded_module, "_CHUNK_PAIRS", chunk_pairs)
        patch.setattr(encoded_module, "_CHUNK_CHARACTERS", chunk_characters)
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
    assert mapped.source.tolist() == listed.source.tolist() == in_memory.source.tolist()
    assert mapped.target_output.tolist() == listed.target_output.tolist()
    assert len(corpus_of([])) == 0


def test_the_second_time_nothing_is_built(tmp_path, files, monkeypatch):
    first = get(tmp_path, files, limits=FilterConfig(max_tokens=4))
    monkeypatch.setattr(cache_module, "encode_corpus", None)
    again = get(tmp_path, files, limits=FilterConfig(max_tokens=4))
    assert texts(again) == texts(first) == [("one", "eins"), ("two", "zwei")]
    assert again.report == first.report
    assert again.report.total == 3


def test_names_and_places_do_not_matter_but_content_does(tmp_path, files):
    def key(files):
        return corpus_key([files], LATIN, None, keep_text=False)

    moved = tmp_path / "moved"
    moved.mkdir()
    for path in files.paths:
        (moved / path.name).write_bytes(path.read_bytes())
    twin = CorpusFiles(source=moved / "train.en", target=moved / "train.de")
    assert key(twin) == key(files)
    twin.target.write_text("eins\nzwei\nDrei\n")
    assert key(twin) != key(files)


def test_every_setting_that_matters_makes_another_corpus(tmp_path, files):
    tsv = tmp_path / "three.tsv"
    tsv.write_text("a\tb\tc\n")
    swapped = CorpusFiles(source=files.target, target=files.source)
    other = Segmenters(CodePoints(), CodePoints(name="b"))
    keys = [
        corpus_key([files], LATIN, None, keep_text=False),
        corpus_key([files], LATIN, None, keep_text=True),
        corpus_key([files], LATIN, NO_LIMITS, keep_text=False),
        corpus_key([files], LATIN, FilterConfig(max_ratio=2.0), keep_text=False),
        corpus_key([files], other, None, keep_text=False),
        corpus_key([files], Segmenters(*other[::-1]), None, keep_text=False),
        corpus_key([swapped], LATIN, None, keep_text=False),
        corpus_key([files, files], LATIN, None, keep_text=False),
        corpus_key([CorpusFiles(tsv=tsv)], LATIN, None, keep_text=False),
        corpus_key([CorpusFiles(tsv=tsv, target_column=3)], LATIN, None, keep_text=False),
    ]
    assert len(set(keys)) == len(keys)


def test_several_corpora_follow_one_another(tmp_path, files):
    tsv = tmp_path / "more.tsv"
    tsv.write_text("vier\tfour\n")
    more = CorpusFiles(tsv=tsv, source_column=2, target_column=1)
    corpus = cached_corpus(tmp_path / "cache", [files, more], LATIN, None, keep_text=False)
    assert texts(corpus)[-2:] == [("three", "drei"), ("four", "vier")]


ENTRY = ["source.values", "source.offsets", "target.lengths", "target_text.values", "meta.json"]


@pytest.mark.parametrize("name", ENTRY)
@pytest.mark.parametrize("harm", ["truncate", "remove"])
def test_a_damaged_entry_is_built_anew(tmp_path, files, name, harm):
    expected = texts(get(tmp_path, files, keep_text=True))
    (folder,) = folders(tmp_path)
    if harm == "remove":
        (folder / name).unlink()
    else:
        (folder / name).write_bytes((folder / name).read_bytes()[:-1])
        if name == "meta.json":  # without its last byte, a line end, it would still do
            (folder / name).write_bytes((folder / name).read_bytes()[:-1])
    with pytest.raises(DataError, match=name if harm == "remove" else "not a whole"):
        open_corpus(folder)
    assert texts(get(tmp_path, files, keep_text=True)) == expected
    assert folders(tmp_path) == [folder]


@pytest.mark.parametrize(
    "change",
    [{"format": 2}, {"pairs": 2}, {"pairs": "3"}, {"rows": {}}, {"rows": []}, {"report": 1}],
    ids=str,
)
def test_a_description_that_does_not_fit_is_refused(tmp_path, change):
    encode([("a", "b"), ("cd", "ef"), ("g", "h")], tmp_path / "it")
    meta = json.loads((tmp_path / "it/meta.json").read_text()) | change
    (tmp_path / "it/meta.json").write_text(json.dumps(meta))
    with pytest.raises(DataError, match="not a whole encoded corpus"):
        open_corpus(tmp_path / "it")


def test_elements_are_plain_integers_only(tmp_path):
    encode([("a", "b")], tmp_path / "it")
    meta = json.loads((tmp_path / "it/meta.json").read_text())
    meta["rows"]["source"]["element"] = "|O"
    (tmp_path / "it/meta.json").write_text(json.dumps(meta))
    with pytest.raises(DataError, match="can't be"):
        open_corpus(tmp_path / "it")


def test_a_corpus_of_nothing_is_an_error_that_says_why(tmp_path, files):
    with pytest.raises(DataError, match=r"train.en.*no pair is left.*3 source too short") as caught:
        get(tmp_path, files, limits=FilterConfig(min_tokens=9))
    assert "\n" not in str(caught.value)
    assert folders(tmp_path) == []


def test_without_limits_a_corpus_of_empty_lines_is_kept(tmp_path, files):
    for path in files.paths:
        path.write_text("\n\n")
    assert texts(get(tmp_path, files, limits=None)) == [("", ""), ("", "")]


def test_bad_input_leaves_nothing_behind(tmp_path, files):
    files.target.write_bytes(b"eins\nzw\xffei\ndrei\n")
    with pytest.raises(DataError, match=r"train.de:2"):
        get(tmp_path, files)
    assert folders(tmp_path) == []


def test_a_missing_file_is_named(tmp_path, files):
    files.source.unlink()
    with pytest.raises(DataError, match=r"train.en: no such file"):
        get(tmp_path, files)


def test_a_cache_that_can_not_be_written_is_said_so(tmp_path, files, monkeypatch):
    (tmp_path / "cache").write_text("not a folder")
    with pytest.raises(DataError, match="cache: can't keep the encoded corpus"):
        get(tmp_path, files)
    (tmp_path / "cache").unlink()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("seqtrans.data.rows.RowWriter.append", full)
    with pytest.raises(DataError, match="No space left on device"):
        get(tmp_path, files)
    assert folders(tmp_path) == []


class Stuck(CodePoints):
    """Says where it is, and does not go on, the first time."""

    def encode(self, lines):
        if not Path(self.name).exists():
            Path(self.name).touch()
            time.sleep(60)
        return super().encode(lines)


class Counted(CodePoints):
    """Leaves a file for each time it encodes."""

    def encode(self, lines):
        (Path(self.name) / f"{os.getpid()}").touch()
        time.sleep(0.2)
        return super().encode(lines)

    def to_bytes(self):
        return b"counted"


def build_in_child(tmp_path, files, segmenter):
    corpus = get(tmp_path, files, segmenters=Segmenters(segmenter, segmenter))
    assert texts(corpus)[2] == ("three", "drei")


def test_a_killed_build_is_invisible_and_tidied_up_by_the_next(tmp_path, files):
    started = tmp_path / "started"
    segmenter = Stuck(name=str(started))
    child = FORK.Process(target=build_in_child, args=(tmp_path, files, segmenter))
    child.start()
    while not started.exists():
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert [folder.suffix for folder in folders(tmp_path)] == [".partial"]
    assert len(get(tmp_path, files, segmenters=Segmenters(segmenter, segmenter))) == 3
    assert [folder.suffix for folder in folders(tmp_path)] == [""]


def test_of_many_processes_one_builds(tmp_path, files):
    log = tmp_path / "log"
    log.mkdir()
    arguments = (tmp_path, files, Counted(name=str(log)))
    children = [FORK.Process(target=build_in_child, args=arguments) for _ in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * 4
    assert len(list(log.iterdir())) == 1
    assert len(folders(tmp_path)) == 1


def identity(tmp_path):
    return [path.stat().st_ino for path in (tmp_path / "cache").glob("[!.]*")]


def test_without_locks_the_first_of_two_builders_wins(tmp_path, files, monkeypatch):
    def no_locks(*_):
        raise OSError("no locks here")

    monkeypatch.setattr(cache_module.fcntl, "flock", no_locks)
    winners = []

    def beaten_to_it(*arguments, **settings):
        monkeypatch.setattr(cache_module, "encode_corpus", encode_corpus)
        report = encode_corpus(*arguments, **settings)
        get(tmp_path, files)
        winners.extend(identity(tmp_path))
        return report

    monkeypatch.setattr(cache_module, "encode_corpus", beaten_to_it)
    assert len(get(tmp_path, files)) == 3
    assert identity(tmp_path) == winners
    assert len(folders(tmp_path)) == 1


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
