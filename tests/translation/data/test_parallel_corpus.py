import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqtrans.errors import DataError
from seqtrans.translation.data.parallel_corpus import (
    Cause,
    CorpusFiles,
    DropReport,
    FilterConfig,
    classify,
    read_pairs,
)

LENGTHS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=30)
FILTERS = st.builds(
    FilterConfig,
    min_tokens=st.integers(1, 3),
    max_tokens=st.integers(3, 10),
    max_ratio=st.none() | st.sampled_from([1.0, 1.5, 2.0, 3.0]),
)


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


def test_filter_contradictions_are_refused():
    with pytest.raises(ValueError, match="min_tokens 5 must not exceed max_tokens 4"):
        FilterConfig(min_tokens=5, max_tokens=4)


def cause_in_words(source, target, config):
    """Independent answer: one pair at a time, in the order of the documentation."""
    if source == 0 or target == 0:
        return Cause.EMPTY_SOURCE if source == 0 else Cause.EMPTY_TARGET
    if min(source, target) < config.min_tokens:
        return Cause.SHORT_SOURCE if source < config.min_tokens else Cause.SHORT_TARGET
    if max(source, target) > config.max_tokens:
        return Cause.LONG_SOURCE if source > config.max_tokens else Cause.LONG_TARGET
    ratio = Fraction(max(source, target), min(source, target))
    too_far = config.max_ratio is not None and ratio > Fraction(config.max_ratio)
    return Cause.RATIO if too_far else Cause.KEPT


@given(LENGTHS, FILTERS)
def test_every_pair_gets_its_cause(lengths, config):
    source, target = (np.array([pair[i] for pair in lengths], dtype=np.int32) for i in (0, 1))
    causes = classify(source, target, config)
    assert causes.tolist() == [cause_in_words(s, t, config) for s, t in lengths]


def test_a_limit_itself_is_kept():
    source, target = np.array([2, 2, 9, 3, 4, 1]), np.array([2, 4, 9, 9, 9, 2])
    config = FilterConfig(min_tokens=2, max_tokens=9, max_ratio=2.0)
    kept, ratio, short = Cause.KEPT, Cause.RATIO, Cause.SHORT_SOURCE
    assert classify(source, target, config).tolist() == [kept, kept, kept, ratio, ratio, short]


@given(LENGTHS, LENGTHS)
def test_reports_add_up_and_survive_json(first, second):
    def report(lengths):
        source, target = (np.array([pair[i] for pair in lengths], dtype=np.int32) for i in (0, 1))
        return DropReport.of(classify(source, target, FilterConfig(max_tokens=5, max_ratio=2.0)))

    both = report(first) + report(second)
    assert both == report(first + second)
    assert both.total == len(first) + len(second)
    assert DropReport.from_dict(json.loads(json.dumps(both.as_dict()))) == both


def test_the_report_reads_well():
    report = DropReport({Cause.KEPT: 14_000, Cause.EMPTY_TARGET: 1, Cause.RATIO: 1_200})
    assert str(report) == (
        "15,201 pairs, 14,000 kept, 1,201 dropped: 1 empty target, 1,200 lengths too different"
    )
    assert str(DropReport({Cause.KEPT: 3})) == "3 pairs, 3 kept, 0 dropped"
