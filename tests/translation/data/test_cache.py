"""The cache of encoded corpora: it finds its own and nothing else, whoever is killed when."""

import multiprocessing
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from seqtrans.errors import DataError
from seqtrans.translation.data import cache as cache_module
from seqtrans.translation.data.cache import corpus_key, fill_cache
from seqtrans.translation.data.corpus_files import check_corpus, encode_corpus, open_corpus
from seqtrans.translation.data.formats.base import CorpusFiles
from seqtrans.translation.data.formats.text import TextFiles
from seqtrans.translation.data.formats.tsv import TsvFile
from seqtrans.translation.data.length_filter import FilterConfig
from seqtrans.translation.tokenization.segmenters import Segmenters
from seqtrans.translation.tokenization.vocabulary import Vocabulary
from seqtrans.translation.tokenization.words_and_characters import TokenSegmenter

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")

FORK = multiprocessing.get_context("fork")
NO_LIMITS = FilterConfig(max_tokens=10_000)


class Letters(TokenSegmenter):
    """Characters that are letters."""

    def __init__(self, path=None):
        super().__init__(Vocabulary(tuple("abcdefghijklmnopqrstuvwxyz")), "characters")
        self.path = path


LETTERS = Segmenters(Letters(), Letters())


@pytest.fixture
def files(tmp_path):
    source, target = tmp_path / "train.en", tmp_path / "train.de"
    source.write_text("one\ntwo\nthree\n")
    target.write_text("eins\nzwei\ndrei\n")
    return TextFiles(source=source, target=target)


def get(tmp_path, files, segmenters=LETTERS, limits=NO_LIMITS, keep_text=False):
    cache = tmp_path / "cache"
    return open_corpus(cache / fill_cache(cache, [files], segmenters, limits, keep_text=keep_text))


def folders(tmp_path):
    return [f for f in (tmp_path / "cache").iterdir() if not f.name.endswith(".lock")]


def texts(corpus):
    pairs = zip(corpus.source, corpus.target, strict=True)
    return [(decode(source), decode(target)) for source, target in pairs]


def decode(ids):
    return LETTERS.source.decode(ids.tolist())


def test_the_second_time_nothing_is_built(tmp_path, files, monkeypatch):
    first = get(tmp_path, files, limits=FilterConfig(max_tokens=4))
    monkeypatch.setattr(cache_module, "encode_corpus", None)
    again = get(tmp_path, files, limits=FilterConfig(max_tokens=4))
    assert texts(again) == texts(first) == [("one", "eins"), ("two", "zwei")]
    assert again.report == first.report
    assert again.report.total == 3


def test_names_and_places_do_not_matter_but_content_does(tmp_path, files):
    def key(files):
        return corpus_key([files], LETTERS, None, keep_text=False)

    moved = tmp_path / "moved"
    moved.mkdir()
    for path in files.paths:
        (moved / path.name).write_bytes(path.read_bytes())
    twin = TextFiles(source=moved / "train.en", target=moved / "train.de")
    assert key(twin) == key(files)
    named = twin.target.rename(moved / "train.gz")  # content says what is compressed
    assert key(TextFiles(source=twin.source, target=named)) == key(files)
    twin.target.write_text("eins\nzwei\nDrei\n")
    assert key(twin) != key(files)


def test_every_setting_that_matters_makes_another_corpus(tmp_path, files):
    tsv = tmp_path / "three.tsv"
    tsv.write_text("a\tb\tc\n")
    swapped = TextFiles(source=files.target, target=files.source)
    other = Segmenters(Letters(), TokenSegmenter(Vocabulary(("a",)), "characters"))
    keys = [
        corpus_key([files], LETTERS, None, keep_text=False),
        corpus_key([files], LETTERS, None, keep_text=True),
        corpus_key([files], LETTERS, NO_LIMITS, keep_text=False),
        corpus_key([files], LETTERS, FilterConfig(max_ratio=2.0), keep_text=False),
        corpus_key([files], other, None, keep_text=False),
        corpus_key([files], Segmenters(*other[::-1]), None, keep_text=False),
        corpus_key([swapped], LETTERS, None, keep_text=False),
        corpus_key([files, files], LETTERS, None, keep_text=False),
        corpus_key([TsvFile(tsv=tsv)], LETTERS, None, keep_text=False),
        corpus_key([TsvFile(tsv=tsv, target_column=3)], LETTERS, None, keep_text=False),
    ]
    assert len(set(keys)) == len(keys)


def test_several_corpora_follow_one_another(tmp_path, files):
    tsv = tmp_path / "more.tsv"
    tsv.write_text("vier\tfour\n")
    more = TsvFile(tsv=tsv, source_column=2, target_column=1)
    cache = tmp_path / "cache"
    key = fill_cache(cache, [files, more], LETTERS, None, keep_text=False)
    assert texts(open_corpus(cache / key))[-2:] == [("three", "drei"), ("four", "vier")]


ENTRY = ["source.values", "source.offsets", "target.lengths", "target_text.values", "meta.json"]


def test_an_altered_entry_is_built_anew(tmp_path, files):
    expected = texts(get(tmp_path, files, keep_text=True))
    (folder,) = folders(tmp_path)
    for path in sorted(folder.iterdir()):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        if path.suffix != ".json":
            with pytest.raises(DataError, match=r"was altered|rows end at"):
                check_corpus(folder)
        corpus = get(tmp_path, files, keep_text=True)
        assert texts(corpus) == expected
        assert corpus.source_text[1] == "two"


@pytest.mark.parametrize("name", ENTRY)
@pytest.mark.parametrize("harm", ["truncate", "lengthen", "remove"])
def test_a_damaged_entry_is_built_anew(tmp_path, files, name, harm):
    expected = texts(get(tmp_path, files, keep_text=True))
    (folder,) = folders(tmp_path)
    if harm == "remove":
        (folder / name).unlink()
    elif harm == "lengthen":
        (folder / name).write_bytes((folder / name).read_bytes() + b"12345678")
    else:
        (folder / name).write_bytes((folder / name).read_bytes()[:-1])
        if name == "meta.json":  # without its last byte, a line end, it would still do
            (folder / name).write_bytes((folder / name).read_bytes()[:-1])
    with pytest.raises(DataError, match=name if harm == "remove" else "damaged encoded corpus"):
        open_corpus(folder)
    assert texts(get(tmp_path, files, keep_text=True)) == expected
    assert folders(tmp_path) == [folder]


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
    with pytest.raises(DataError, match="cache: can't store the encoded corpus"):
        get(tmp_path, files)
    (tmp_path / "cache").unlink()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("seqtrans.translation.data.corpus_files.RowWriter.append", full)
    with pytest.raises(DataError, match="No space left on device"):
        get(tmp_path, files)
    assert folders(tmp_path) == []


class Stuck(Letters):
    """Says where it is, and does not go on, the first time."""

    def encode(self, lines):
        if not self.path.exists():
            self.path.touch()
            time.sleep(60)
        return super().encode(lines)


class Counted(Letters):
    """Leaves a file for each time it encodes."""

    def encode(self, lines):
        (self.path / f"{os.getpid()}").touch()
        time.sleep(0.2)
        return super().encode(lines)

    def to_bytes(self):
        return b"counted"


def build_in_child(tmp_path, files, segmenter):
    corpus = get(tmp_path, files, segmenters=Segmenters(segmenter, segmenter))
    assert texts(corpus)[2] == ("three", "drei")


def test_a_killed_build_is_invisible_and_tidied_up_by_the_next(tmp_path, files):
    started = tmp_path / "started"
    segmenter = Stuck(started)
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
    arguments = (tmp_path, files, Counted(log))
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


@dataclass(frozen=True, kw_only=True)
class OtherFile(CorpusFiles):
    """A format with a setting in every place where one may be."""

    kind: Literal["other"] = "other"
    file: Path
    number: int = 1
    more: tuple[str | Path, ...] = ()
    inside: FilterConfig = NO_LIMITS

    def pairs(self):
        yield from ()


def test_the_key_of_a_corpus_has_every_field_of_its_format(tmp_path):
    """Also of formats to come: nobody lists fields."""
    one, same, other = tmp_path / "one", tmp_path / "same", tmp_path / "other"
    for path in (one, same):
        path.write_text("text")
    other.write_text("other text")

    def key(**settings):
        return corpus_key([OtherFile(**settings)], LETTERS, None, keep_text=False)

    keys = [
        key(file=one),
        key(file=other),
        key(file=one, number=2),
        key(file=one, more=("a",)),
        key(file=one, more=(one,)),
        key(file=one, more=(other,)),
        key(file=one, inside=FilterConfig()),
    ]
    assert len(set(keys)) == len(keys)
    assert key(file=same) == keys[0]
    assert key(file=one, more=(same,)) == keys[4]


def test_files_read_by_another_format_are_another_corpus(files):
    @dataclass(frozen=True, kw_only=True)
    class Lookalike(TextFiles):
        kind: Literal["lookalike"] = "lookalike"

    twin = Lookalike(source=files.source, target=files.target)
    one, other = (corpus_key([f], LETTERS, None, keep_text=False) for f in (files, twin))
    assert one != other
