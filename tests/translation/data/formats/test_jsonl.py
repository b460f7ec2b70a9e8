import gzip
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqtrans.errors import DataError
from seqtrans.translation.data.formats.jsonl import JsonLinesFile
from seqtrans.translation.data.parallel_corpus import read_pairs

SENTENCES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"))


def corpus(folder, content, **keys):
    (folder / "a.jsonl").write_bytes(content if isinstance(content, bytes) else content.encode())
    return JsonLinesFile(file=folder / "a.jsonl", **keys)


@given(st.lists(st.tuples(SENTENCES, SENTENCES), min_size=1))
def test_every_line_is_a_pair_as_it_was_written(tmp_path_factory, pairs):
    folder = tmp_path_factory.mktemp("jsonl")
    for ascii_only in (True, False):
        lines = [
            json.dumps({"source": s, "target": t, "id": i}, ensure_ascii=ascii_only)
            for i, (s, t) in enumerate(pairs)
        ]
        text = "\n".join(lines)
        assert list(read_pairs(corpus(folder, text))) == pairs
        assert list(read_pairs(corpus(folder, gzip.compress(f"{text}\r\n".encode())))) == pairs


@pytest.mark.parametrize(
    ("record", "keys"),
    [
        ({"translation": {"en": "one", "de": "eins"}}, ("translation.en", "translation.de")),
        ({"en.text": "one", "a": {"de.text": "eins"}}, ("en.text", "a.de.text")),
        ({"a": {"b": {"c": "one", "d": "eins"}}}, ("a.b.c", "a.b.d")),
    ],
)
def test_dots_lead_into_objects(tmp_path, record, keys):
    source, target = keys
    found = corpus(tmp_path, json.dumps(record), source_key=source, target_key=target)
    assert list(read_pairs(found)) == [("one", "eins")]


def test_a_sentence_stays_on_one_line(tmp_path):
    found = corpus(tmp_path, r'{"source": "one\r\ntwo\nthree", "target": "a\u2028b\tc"}')
    assert list(read_pairs(found)) == [("one two three", "a\u2028b\tc")]


GOOD = '{"source": "one", "target": "eins"}\n'


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"source": "a"', "not JSON: Expecting ',' delimiter at character 15; every line must"),
        ("", "not JSON: the line is empty; every line must be a JSON object"),
        ("{} {}", "not JSON: Extra data at character 4; every line must be a JSON object"),
        ('{"source": "a"}', "lacks the key 'target'; it has 'source'"),
        ("{}", "lacks the key 'source'; it has no keys"),
        ("[1]", "lacks the key 'source': a list is not an object"),
        ("null", "lacks the key 'source': null is not an object"),
        ('{"source": 5, "target": "a"}', "'source' must be text, not a number"),
        ('{"source": "a", "target": null}', "'target' must be text, not null"),
        ('{"source": "a", "target": ["b"]}', "'target' must be text, not a list"),
        ('{"source": "a", "target": "\\ud800"}', "'target' has half a surrogate pair, \\ud800"),
        ("[" * 100_000, "JSON that can't be read: "),
        ('{"n": ' + "1" * 5000 + "}", "JSON that can't be read: "),
    ],
)
def test_mistakes_are_one_line_with_their_place(tmp_path, line, said):
    pairs = read_pairs(corpus(tmp_path, GOOD + line + "\n" + GOOD))
    assert next(pairs) == ("one", "eins")
    with pytest.raises(DataError) as error:
        next(pairs)
    assert str(error.value).startswith(f"{tmp_path}/a.jsonl:2: {said}")
    assert "\n" not in str(error.value)


def test_text_that_is_not_utf8_is_located_and_no_lines_are_none(tmp_path):
    with pytest.raises(DataError, match=r"a\.jsonl:2: not UTF-8"):
        list(read_pairs(corpus(tmp_path, GOOD.encode() + b'{"source": "\xff"}\n')))
    with pytest.raises(DataError, match=r"a\.jsonl: has no lines"):
        list(read_pairs(corpus(tmp_path, "")))


def test_one_key_for_both_sides_is_refused(tmp_path):
    with pytest.raises(ValueError, match=re.escape("must differ, not both 'a'")):
        JsonLinesFile(file=tmp_path, source_key="a", target_key="a")
