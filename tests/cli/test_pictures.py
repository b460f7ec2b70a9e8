# ruff: noqa: F811 - fixtures
"""``seqtrans attention`` and ``seqtrans beams`` on a run that was trained for 3 steps."""

import json
import re

import pytest

import seqtrans
from tests.support.trained_translator import home, run  # noqa: F401 - a fixture

TEXT = "ab <b> &cd"


def is_complete(page):
    """Whether a page fetches nothing."""
    assert "default-src 'none'" in page
    return not re.search(r"\b(src|href)=|url\(|@import|fetch\(", page)


def test_attention_becomes_a_page_and_a_picture(home, capsys):
    pytest.importorskip("matplotlib", reason="extra plots")
    for name in ("map.html", "map.png"):
        code, said = run(home, "attention", "run", TEXT, "-o", name)
        assert code == 0, said
    (expected,) = seqtrans.load(home / "run", details=["attention"]).stream([TEXT])
    assert capsys.readouterr().out == f"{expected.text}\n" * 2
    page = (home / "map.html").read_text()
    assert is_complete(page)
    assert "&lt;b&gt; &amp;cd" in page
    (part,) = expected.details["attention"]
    rows, columns = len(part["target"]), len(part["source"])
    assert page.count("<td") == rows * columns
    assert (home / "map.png").read_bytes().startswith(b"\x89PNG")


def test_a_long_text_has_a_map_for_each_part(home):
    text = "dcba. " * 12
    assert run(home, "attention", "run", text, "-o", "long.html")[0] == 0
    assert (home / "long.html").read_text().count("<table>") > 1
    code, said = run(home, "attention", "run", text, "-o", "long.png")
    assert (code, "in several parts" in said or "parts, each with a heat map" in said) == (2, True)


def test_an_ensemble_has_a_tree_and_a_map(home, capsys):
    for command in ("attention", "beams"):
        code, said = run(home, command, "run", "run", TEXT, "-o", "both.html")
        assert code == 0, said
    (expected,) = seqtrans.load([home / "run", home / "run"]).stream([TEXT])
    assert capsys.readouterr().out.splitlines() == [expected.text] * 2


def test_a_search_becomes_a_tree(home, capsys):
    code, said = run(home, "beams", "run", TEXT, "--set", "beam_size=3", "-o", "tree.html")
    assert code == 0, said
    (expected,) = seqtrans.load(home / "run", beam_size=3).stream([TEXT])
    assert capsys.readouterr().out == f"{expected.text}\n"
    page = (home / "tree.html").read_text()
    assert is_complete(page)
    data, best = re.search(r"const NODES = (.*), BEST = (\d+);\n", page).groups()
    nodes, number, tokens = json.loads(data), int(best), []
    assert nodes[number]["rank"] == 1
    assert nodes[number]["score"] == pytest.approx(expected.score)
    while number > 0:
        tokens.append(nodes[number]["token"])
        number = nodes[number]["parent"]
    assert tuple(tokens[:0:-1]) == expected.tokens


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("beams", "run", " "), "the text is blank: give one sentence"),
        (("beams", "run", "dcba. " * 12), "parts: give one sentence"),
        (("beams", "run", "ab", "--set", "kind=sampling"), "only beam search has a tree"),
        (("attention", "run", "ab", "-o", "map.pdf"), "map.pdf: must end in .html or .png"),
        (("attention", "run", "ab", "-o", "no/map.png"), "there is no folder no"),
        (("attention", "run", ""), "the text is blank"),
    ],
)
def test_mistakes_are_one_line(home, arguments, message):
    code, said = run(home, *arguments)
    assert (code, said.count("\n")) == (2, 1)
    assert message in said
