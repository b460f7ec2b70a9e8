from pathlib import Path

import pytest

from seqtrans.errors import DataError
from seqtrans.translation.data.parallel_corpus import CorpusFiles, read_pairs


def files(folder, source, target):
    (folder / "a.en").write_bytes(source)
    (folder / "a.de").write_bytes(target)
    return CorpusFiles(source=folder / "a.en", target=folder / "a.de")


def tsv(folder, content, **columns):
    (folder / "a.tsv").write_bytes(content)
    return CorpusFiles(tsv=folder / "a.tsv", **columns)


def test_pairs_of_several_corpora_come_in_order(tmp_path):
    two = files(tmp_path, b"one\r\ntwo", "eins\u2028\nzwei\n".encode())
    table = tsv(tmp_path, b"x\tdrei\tthree\t\n", source_column=3, target_column=2)
    pairs = [("one", "eins\u2028"), ("two", "zwei"), ("three", "drei")]
    assert list(read_pairs(two, table)) == pairs
    assert list(read_pairs(table)) == pairs[2:]


@pytest.mark.parametrize(
    ("source", "target", "counts", "longer"),
    [
        (b"1\n2\n3\n4\n", b"1\n2\n", (4, 2), "a.en:3"),
        (b"1\n2", b"1\n2\n\n", (2, 3), "a.de:3"),
        (b"", b"1\n", (0, 1), "a.de:1"),
    ],
)
def test_different_line_counts_name_both_files(tmp_path, source, target, counts, longer):
    corpus = files(tmp_path, source, target)
    with pytest.raises(DataError) as error:
        list(read_pairs(corpus))
    assert str(error.value) == (
        f"{tmp_path}/a.en has {counts[0]} lines but {tmp_path}/a.de has {counts[1]}: "
        f"{tmp_path}/{longer} has no translation; line must translate line"
    )


def test_a_corpus_without_lines_is_named(tmp_path):
    full = files(tmp_path, b"1\n", b"1\n")
    with pytest.raises(DataError, match=r"a\.tsv: has no lines"):
        list(read_pairs(full, tsv(tmp_path, b"")))


def test_a_row_that_lacks_a_column_is_located(tmp_path):
    with pytest.raises(DataError, match=r"a\.tsv:2: has 1 tab-separated columns, needs 2$"):
        list(read_pairs(tsv(tmp_path, b"a\tb\nonly one\n")))
    with pytest.raises(DataError, match=r"a\.tsv:1: has 2 tab-separated columns, needs 4$"):
        list(read_pairs(tsv(tmp_path, b"a\tb\n", source_column=4)))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({}, "source is missing"),
        ({"source": Path("a")}, "target is missing"),
        ({"target": Path("a")}, "source is missing"),
        ({"source": Path("a"), "tsv": Path("b")}, "not both"),
        ({"tsv": Path("b"), "source_column": 2}, "source_column 2 and target_column 2"),
        ({"source": Path("a"), "target": Path("b"), "target_column": 3}, "need tsv"),
    ],
)
def test_contradictions_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        CorpusFiles(**wrong)
