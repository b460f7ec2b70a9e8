# ruff: noqa: F811 - fixtures
"""Details of translations: by hand, and of a run that was trained for 3 steps."""

import math

import numpy as np
import pytest

import seqtrans
from seqtrans.errors import SeqtransError
from seqtrans.translation.inference.details import by_words
from tests.support.trained_translator import home, json_lines, run  # noqa: F401 - a fixture

LINES = ["ab cd", "", "a  b dc.", "dcba. " * 12]
DETAILS = ("alignment", "confidence", "attention")


def described(home, **settings):
    translator = seqtrans.load(home / "run", details=DETAILS, **settings)
    return list(translator.stream(LINES))


def test_attention_of_words_is_a_sum_over_source_and_a_mean_over_target_tokens():
    weights = np.array([[0.1, 0.2, 0.7], [0.3, 0.5, 0.2], [0.0, 0.9, 0.1]])
    found = by_words(weights, rows=[0, 0, 1], columns=[0, 1, 1])
    np.testing.assert_allclose(found, [[0.2, 0.8], [0.0, 1.0]])


@pytest.mark.parametrize("settings", [{}, {"beam_size": 1}, {"kind": "sampling", "n_best": 2}])
def test_they_do_not_depend_on_the_batch_and_agree_with_scores(home, settings):
    every = described(home, **settings)
    alone = described(home, **settings, batch_tokens=1)
    for line, found, other in zip(LINES, every, alone, strict=True):
        assert found.details["alignment"] == other.details["alignment"]
        expected = pytest.approx(other.details["confidence"], rel=1e-3)
        assert found.details["confidence"] == expected
        # The length penalty is 1.
        assert found.details["confidence"] == pytest.approx(math.exp(found.score), rel=1e-3)
        words = found.text.split()
        assert len(found.details["word_confidences"]) == len(words)
        links = [tuple(map(int, link.split("-"))) for link in found.details["alignment"].split()]
        assert sorted(target for _, target in links) == list(range(len(words)))
        assert all(source < len(line.split()) for source, _ in links)
        for part in found.details["attention"]:
            weights = np.array(part["weights"])
            assert weights.shape == (len(part["target"]), len(part["source"]))
            np.testing.assert_allclose(weights.sum(1), 1, atol=1e-3)
            assert part["source"][-1] == part["target"][-1] == "</s>"
    assert len(every[3].details["attention"]) > 1  # a long line has parts


def test_the_command_says_them_also_in_bulk_and_only_those_asked_for(home):
    (home / "words").write_text("".join(f"{line}\n" for line in LINES))
    asked = ("translate", "run", "words", "--format", "jsonl", "--details", "alignment")
    for more in (("-o", "one.jsonl"), ("-o", "bulk", "--workers", "1")):
        code, said = run(home, *asked, *more)
        assert code == 0, said
    found = json_lines((home / "one.jsonl").read_text())
    assert [each["alignment"] for each in found] == [
        translation.details["alignment"] for translation in described(home)
    ]
    assert not {"confidence", "attention"} & found[0].keys()
    assert json_lines((home / "bulk" / "words.jsonl").read_text()) == found


def test_warnings_need_no_other_detail(home, monkeypatch):
    expected = [
        found.details["warnings"]
        for found in seqtrans.load(home / "run", details=("warnings", "confidence")).stream(LINES)
    ]
    monkeypatch.delattr("seqtrans.translation.inference.details.forced_pass")  # nor the model
    found = seqtrans.load(home / "run", details=["warnings"]).stream(LINES)
    assert [translation.details for translation in found] == [{"warnings": w} for w in expected]
    assert any(expected)  # a model of 3 steps says nothing right
    assert expected[1] == {}  # a blank line


def test_mistakes_are_one_line(home):
    code, said = run(home, "translate", "run", "words", "--details", "alignment")
    assert (code, said.count("\n")) == (2, 1)
    assert "--details alignment needs --format jsonl" in said
    with pytest.raises(SeqtransError, match="no detail 'words': choose among alignment"):
        seqtrans.load(home / "run", details=["words"])
