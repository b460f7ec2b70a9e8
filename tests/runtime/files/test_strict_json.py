"""What seqtrans writes as JSON and YAML, read by other readers of these."""

import io
import json
import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from seqtrans import config
from seqtrans.config.trees import flow
from seqtrans.runtime.files.strict_json import as_json

NUMBERS = st.integers(-(2**53), 2**53) | st.floats()
TEXT = st.text(st.characters(codec="utf-8") | st.sampled_from("\x85\u2028\u2029\x0b\x1c\r\n\x00"))
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(TEXT, inside, max_size=4),
    max_leaves=12,
)


def strictly(text):
    """What the standard's JSON says; Python reads more unless it is told."""

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def without_infinities(value):
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: without_infinities(v) for key, v in value.items()}
    return [without_infinities(v) for v in value] if isinstance(value, list) else value


@given(VALUES)
def test_json_is_one_line_that_a_strict_reader_takes(value):
    text = as_json(value)
    assert text.splitlines() == [text]
    assert strictly(text.encode()) == without_infinities(value)


def test_names_that_are_not_utf8_come_back():
    text = as_json({"image": "caf\udce9.png"})
    assert text.encode() == b'{"image": "caf\\udce9.png"}'
    assert strictly(text) == {"image": "caf\udce9.png"}


AMBIGUOUS = [
    *("no", "Yes", "on", "OFF", "y", "N", "true", "null", "~", "", "=", "<<", ".inf", ".NaN"),
    *("1e-4", "1.e5", "1e-05", "0x1f", "0o17", "017", "1_000", "0b11", "12:30", "1:2:3.5", "+1"),
    *("2001-01-01", "2001-12-14t21:59:43.10-05:00", "- a", "a: b", "#", "&a", "*a", "!t", "%x"),
    *("\x85", "a\u2028b", "\ufeff", " a ", "'", '"', "tab\t", "é", "😀", "line\nline"),
]
NUMBERS_OF_RECIPES = [1e-05, 1e-4, 1e16, 1e22, 0.1, -2.5e-300, math.inf, -math.inf, 3, -1, 2**62]


@pytest.mark.parametrize("write", [config.dump, flow])
def test_readers_of_yaml_1_1_and_1_2_find_the_same(write):
    """PyYAML's own is one of 1.1, ours one of 1.2, and where they differ text is quoted."""
    value = {
        "texts": AMBIGUOUS,
        "numbers": NUMBERS_OF_RECIPES,
        "others": [True, False, None],
        **dict.fromkeys(AMBIGUOUS, 1),
    }
    text = write(value)
    for read in (yaml.safe_load, lambda text: config.parse(text, "x").value):
        found = read(text)
        assert found == value
        assert [type(number) for number in found["numbers"]] == [
            type(number) for number in NUMBERS_OF_RECIPES
        ]


@given(st.dictionaries(TEXT, TEXT | st.floats(allow_nan=False) | st.booleans(), max_size=5))
def test_whatever_is_written_as_yaml_is_read_alike(value):
    text = config.dump(value)
    assert yaml.safe_load(io.BytesIO(text.encode())) == value
