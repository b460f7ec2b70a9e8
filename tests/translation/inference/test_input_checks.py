"""What a caller from Python may pass as text, and what it is told of all else."""

import io
import itertools

import numpy as np
import pytest

from seqtrans.errors import SeqtransError
from seqtrans.runtime.device import place
from seqtrans.translation.inference.forced_scoring import Scorer
from seqtrans.translation.search.config import DecodingConfig
from tests.support.copying_model import LETTERS, characters, random_model, translator

LINES = ["abc", "", "b", "abc"]
FORMS = {
    "tuple": tuple,
    "iterator": iter,
    "generator": lambda lines: (line for line in lines),
    "map": lambda lines: map(str, lines),
    "file": lambda lines: io.StringIO("".join(f"{line}\n" for line in lines)),
    "windows file": lambda lines: io.StringIO("".join(f"{x}\r\n" for x in lines), newline=""),
    "numpy": np.array,
    "objects": lambda lines: np.array(lines, dtype=object),
    "keys": lambda lines: lines if len({*lines}) < len(lines) else dict.fromkeys(lines).keys(),
}
METHODS = {
    "translate": lambda lines: translator().translate(lines),
    "stream": lambda lines: [found.text for found in translator().stream(lines)],
    "stream_blocks": lambda x: [found.text for found in translator().stream_blocks(x, 3)],
}


@pytest.fixture(params=METHODS)
def method(request):
    return METHODS[request.param]


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_lines_in_any_form_are_translated_as_a_list(method, form):
    assert method(form(LINES)) == LINES
    assert method(form(LINES[:3])) == LINES[:3]
    assert method(form([])) == []


def test_a_line_in_is_a_line_out_whatever_ends_it(method):
    lines = ["ab\n", "a\nb", "\n", "a\n\nb\n", "\r\n", "a\r\nb\r\n", "\ud800\n"]
    assert method(lines)[:6] == ["ab", "a b", "", "a b", "", "a b"]
    assert len(method(lines)) == 7


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("hello", r"takes a list of lines: \w+\(\['hello'\]\)"),
        (b"hello", "takes a list of lines, not bytes$"),
        (np.str_("hello"), "takes a list of lines"),
        (None, "takes a list of lines, not NoneType"),
        (3, "takes a list of lines, not int"),
        (np.array("hello"), "takes a list of lines, not ndarray of 0 dimensions"),
        (np.array([["hello"]]), "takes a list of lines, not ndarray of 2 dimensions"),
        (["a", None], "line 2 is not a str but None$"),
        (["a", "b", float("nan")], "line 3 is not a str but float nan"),
        (["a", 3], "line 2 is not a str but int 3"),
        ([b"elm"], "line 1 is not a str but bytes b'elm'"),
        ([["a"]], r"line 1 is not a str but list \['a'\]"),
    ],
)
def test_what_is_no_text_is_named(method, lines, message):
    with pytest.raises(TypeError, match=message):
        method(lines)


def test_one_string_is_refused_before_anything_is_asked_for():
    for method in (translator().stream, lambda lines: translator().stream_blocks(lines, 2)):
        with pytest.raises(TypeError, match="takes a list of lines"):
            method("hello")


def test_errors_of_the_callers_own_come_through(method):
    def failing():
        yield "a"
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        method(failing())


def test_streams_have_no_end():
    for stream in (
        translator().stream(itertools.cycle(["ab"])),
        translator().stream_blocks(itertools.cycle(["ab"]), 2),
    ):
        assert [found.text for found in itertools.islice(stream, 5)] == ["ab"] * 5
    pairs = scorer().stream(itertools.repeat(("ab", "ba")))
    assert len({pair.score for pair in itertools.islice(pairs, 5)}) == 1


def scorer():
    segmenters = characters()
    return Scorer(random_model(segmenters), segmenters, DecodingConfig(), "cpu")


def test_pairs_in_any_form_are_scored_as_a_list():
    sources, targets = ["abc", "b", "d"], [LETTERS[:4], "c", ""]
    expected = scorer().score(list(zip(sources, targets, strict=True)))
    files = (FORMS["file"](lines) for lines in (sources, targets))
    for pairs in (
        zip(sources, targets, strict=True),
        [[*pair] for pair in zip(sources, targets, strict=True)],
        zip(*files, strict=True),
        zip(sources, map(iter, targets), strict=True),  # characters are pieces
    ):
        assert scorer().score(pairs) == expected
    assert list(scorer().stream(zip(sources, targets, strict=True))) == expected


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ("ab", r"takes a list of \(source, target\) pairs, not str$"),
        (["ab"], r"pair 1 is not \(source, target\) but str 'ab'"),
        ([("a", "b"), ("a",)], r"pair 2 is not \(source, target\) but tuple \('a',\)"),
        ([("a", "b"), (None, "b")], "the source of pair 2 is not a str but None"),
        ([("a", b"b")], "the target of pair 1 is not a str but bytes b'b'"),
        ([("a", float("nan"))], "the target of pair 1 is not a str but float nan"),
        ([("a", ["b", 3])], "a piece of the target of pair 1 is not a str but int 3"),
    ],
)
def test_what_is_no_pair_is_named(pairs, message):
    for method in (scorer().score, lambda given: list(scorer().stream(given))):
        with pytest.raises(TypeError, match=message):
            method(pairs)


def test_devices_and_precisions_that_do_not_exist_are_named():
    with pytest.raises(SeqtransError, match="no precision 'fp16': choose fp32, bf16 or auto"):
        place(random_model(characters()), "cpu", "fp16")
    with pytest.raises(SeqtransError, match="no device 'gpu': choose cpu, cuda or auto"):
        place(random_model(characters()), "gpu", "fp32")
