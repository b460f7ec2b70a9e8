import re
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest

from seqtrans.config import dump, json_schema, loads
from seqtrans.errors import DataError, RecipeError
from seqtrans.translation.data.formats.text import TextFiles
from seqtrans.translation.data.formats.tsv import TsvFile
from seqtrans.translation.data.parallel_corpus import CorpusFormat, read_pairs


def files(folder, source, target):
    (folder / "a.en").write_bytes(source)
    (folder / "a.de").write_bytes(target)
    return TextFiles(source=folder / "a.en", target=folder / "a.de")


def tsv(folder, content, **columns):
    (folder / "a.tsv").write_bytes(content)
    return TsvFile(tsv=folder / "a.tsv", **columns)


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


@dataclass(frozen=True, kw_only=True)
class Holder:
    """What holds a corpus, as a recipe does."""

    corpus: CorpusFormat


A, B = Path("a"), Path("b")


@pytest.mark.parametrize(
    ("text", "corpus"),
    [
        ("{source: a, target: b}", TextFiles(source=A, target=B)),
        ("{kind: text, source: a, target: b}", TextFiles(source=A, target=B)),
        ("{tsv: a}", TsvFile(tsv=A)),
        ("{kind: tsv, tsv: a, target_column: 3}", TsvFile(tsv=A, target_column=3)),
        ("{tsv: a, source_column: 4}", TsvFile(tsv=A, source_column=4)),
        (  # as runs stored it before there were kinds
            "{source: a, target: b, tsv: null, source_column: 1, target_column: 2}",
            TextFiles(source=A, target=B),
        ),
        (
            "{source: null, target: null, tsv: a, source_column: 2, target_column: 1}",
            TsvFile(tsv=A, source_column=2, target_column=1),
        ),
    ],
)
def test_recipes_may_leave_out_the_kind(text, corpus):
    assert loads(Holder, f"corpus: {text}", "r.yaml").corpus == corpus
    again = dump(Holder(corpus=corpus))
    assert loads(Holder, again, "r.yaml").corpus == corpus


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "corpus lacks the key 'source'"),
        ("{source: a}", "corpus lacks the key 'target'"),
        ("{target: a}", "corpus lacks the key 'source'"),
        ("{source: a, target: 3}", "corpus.target must be a path, not 3; quote it"),
        ("{source: a, tsv: b}", "corpus has no key 'source'"),
        ("{source: a, target: b, target_column: 3}", "corpus has no key 'target_column'"),
        ("{tsv: b, source_column: 2}", "corpus: source_column 2 and target_column 2 must differ"),
        ("{kind: tsf, tsv: b}", "corpus.kind must be"),
        ("{kind: null, tsv: b}", "corpus.kind must be"),
        ("[a, b]", "corpus must be a mapping, not a list of 2"),
    ],
)
def test_contradictions_are_refused(text, said):
    with pytest.raises(RecipeError, match=f"^r.yaml:1: {re.escape(said)}"):
        loads(Holder, f"corpus: {text}", "r.yaml")


def test_a_schema_for_editors_takes_both_spellings():
    schema = json_schema(Holder)
    kinds = {d["properties"]["kind"]["const"]: d for d in schema["$defs"].values()}
    assert set(kinds) == {cls.kind for cls in get_args(get_args(CorpusFormat)[0])}
    assert all("kind" not in d["required"] for d in kinds.values())
