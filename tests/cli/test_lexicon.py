# ruff: noqa: F811 - fixtures
"""``seqtrans lexicon``, and shortlists of a run that was trained for 3 steps."""

import shutil

import pytest

import seqtrans
from seqtrans.errors import CheckpointError
from seqtrans.translation.data.lexicon import FILE
from tests.support.trained_translator import home, run  # noqa: F401 - a fixture


@pytest.fixture(scope="module")
def with_lexicon(home):
    shutil.copytree(home / "run", home / "short")
    code, said = run(home, "lexicon", "short", "--top", "3")
    assert code == 0, said
    assert FILE in said
    return home


def test_only_translations_of_the_shortlist_are_given(with_lexicon, capsys):
    (with_lexicon / "input").write_text("ab cd\n\nabcd abcd\n")
    texts = {}
    for size in (0, 1, 3):
        options = ("--set", f"shortlist={size}", "-o", f"out.{size}")
        code, said = run(with_lexicon, "translate", "short", "input", *options)
        assert code == 0, said
        texts[size] = (with_lexicon / f"out.{size}").read_text()
    assert len(set(texts.values())) > 1
    translator = seqtrans.load(with_lexicon / "short", shortlist=3)
    assert translator.translate(["ab cd", "", "abcd abcd"]) == texts[3].splitlines()
    capsys.readouterr()


def test_it_says_how_much_of_the_text_is_in_shortlists(with_lexicon, capsys):
    assert run(with_lexicon, "lexicon", "short", "--top", "100")[0] == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split()[0] == "shortlist"
    shares = [float(row.split()[1].rstrip("%")) for row in rows]
    assert shares == sorted(shares)
    assert shares[-1] == 100.0  # the validation corpus is the training corpus


def test_a_missing_or_small_lexicon_is_one_line(with_lexicon):
    with pytest.raises(CheckpointError, match="shortlist needs a lexicon; seqtrans lexicon RUN"):
        seqtrans.load(with_lexicon / "run", shortlist=3)
    assert run(with_lexicon, "lexicon", "short", "--top", "3")[0] == 0
    with pytest.raises(CheckpointError, match=r"shortlist \(4\); seqtrans lexicon RUN --top 4"):
        seqtrans.load(with_lexicon / "short", shortlist=4)
    file = with_lexicon / "short" / "vocabulary" / FILE
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(CheckpointError, match="damaged"):
        seqtrans.load(with_lexicon / "short", shortlist=3)
    recipe = (with_lexicon / "toy.yaml").read_text()
    bad = recipe.replace("metrics: []", "metrics: [], decoding: {shortlist: 3}")
    (with_lexicon / "bad.yaml").write_text(bad)
    code, said = run(with_lexicon, "train", "bad.yaml")
    assert code == 2
    assert "validation.decoding.shortlist must be 0" in said


def test_a_bulk_job_refuses_another_lexicon(with_lexicon):
    assert run(with_lexicon, "lexicon", "short", "--top", "3")[0] == 0
    (with_lexicon / "few").write_text("ab cd\nabcd\n")
    job = ("translate", "short", "few", "--set", "shortlist=2", "-o", "bulk", "--workers", "1")
    assert run(with_lexicon, *job)[0] == 0
    assert (
        run(with_lexicon, "translate", "short", "few", "--set", "shortlist=2", "-o", "one")[0] == 0
    )
    assert (with_lexicon / "bulk" / "few").read_text() == (with_lexicon / "one").read_text()
    assert run(with_lexicon, "lexicon", "short", "--top", "2")[0] == 0
    code, said = run(with_lexicon, *job)
    assert code == 2, said
    assert said.count("\n") == 1
