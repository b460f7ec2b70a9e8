# ruff: noqa: F811 - fixtures
"""``seqtrans translate RUN RUN``: runs that translate together."""

import pytest

import seqtrans
from tests.support.trained_translator import home, json_lines, run  # noqa: F401 - a fixture


@pytest.fixture(scope="module")
def runs(home):
    """The run ``run``, ``other`` with another seed, and ``words`` with another vocabulary."""
    for name, *changes in (
        ("other", "training.seed=2"),
        ("words", "data.segmentation.kind=words"),
    ):
        sets = [part for change in changes for part in ("--set", change)]
        code, said = run(home, "train", "toy.yaml", "--run", name, *sets)
        assert code == 0, said
    return home


def translated(home, *arguments):
    code, said = run(home, "translate", *arguments, "--format", "jsonl", "-o", "out")
    assert code == 0, said
    return (home / "out").read_text()


def test_a_run_with_itself_translates_as_it_does_alone(runs):
    alone, twice, both = (
        [line["translation"] for line in json_lines(translated(runs, *names, "input"))]
        for names in (["run"], ["run", "run"], ["run", "other"])
    )
    assert twice == alone
    assert both != alone


def test_the_order_of_runs_does_not_matter_but_the_mean_does(runs):
    means = [
        translated(runs, *names, "input", "--ensemble", kind)
        for kind in ("probabilities", "log_probabilities")
        for names in (("run", "other"), ("other", "run"))
    ]
    assert means[0] == means[1]
    assert means[2] == means[3]
    assert means[0] != means[2]


def test_python_loads_several_runs(runs):
    translator = seqtrans.load([runs / "run", runs / "other"])
    code, said = run(runs, "translate", "run", "other", "input", "-o", "out")
    assert code == 0, said
    lines = (runs / "input").read_bytes().decode().split("\n")
    assert translator.translate(lines) == (runs / "out").read_text().split("\n")[:-1]


def test_other_vocabularies_and_bulk_jobs_are_refused(runs):
    code, said = run(runs, "translate", "run", "words", "input", "-o", "out")
    assert code == 2
    assert "words has another source vocabulary than run: runs of an ensemble need" in said
    code, said = run(runs, "translate", "run", "other", "input", "input", "-o", "folder")
    assert code == 2
    assert "a bulk job translates with one run, not with an ensemble" in said
