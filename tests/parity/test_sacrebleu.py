"""Scores equal those of the ``sacrebleu`` command on the same files."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from seqtrans.errors import DataError
from seqtrans.translation.evaluation.metrics import METRICS, Measure, corpus_scores, score_systems

REFERENCE = Path(__file__).parents[2] / "data/smart-home-en-de/test.de"
COMMAND = {"bleu": ["bleu"], "chrf": ["chrf"], "chrf++": ["chrf", "-cw", "2"], "ter": ["ter"]}


def garbled(lines, share, seed):
    draw = random.Random(seed)  # noqa: S311 - no secret
    return [" ".join(w for w in line.split(" ") if draw.random() > share) for line in lines]


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """Two systems of different quality and two references, as lists and as files."""
    reference = REFERENCE.read_text(encoding="utf-8").splitlines()[:120]
    reference[3] += "  \u00a0"  # the command ignores white space at the end
    lines = {
        "reference": reference,
        "second": garbled(reference, 0.05, 1),
        "good": garbled(reference, 0.15, 2),
        "bad": [line.lower() for line in garbled(reference, 0.3, 3)],
    }
    lines["good"][5] += " \t"
    folder = tmp_path_factory.mktemp("texts")
    files = {name: folder / f"{name}.de" for name in lines}
    for name, file in files.items():
        file.write_text("".join(f"{line}\n" for line in lines[name]), encoding="utf-8")
    return lines, files


def sacrebleu(references, systems, *options):
    """The command's answer as JSON, to 6 decimals."""
    command = [sys.executable, "-m", "sacrebleu", *map(str, references), "-i", *map(str, systems)]
    done = subprocess.run(
        [*command, "-w", "6", *options], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("count", [1, 2])
def test_a_score_is_that_of_the_command(texts, metric, count):
    lines, files = texts
    names = ["reference", "second"][:count]
    answer = sacrebleu([files[n] for n in names], [files["good"]], "-m", *COMMAND[metric])
    references = {name: lines[name] for name in names}
    (score,) = score_systems({"good": lines["good"]}, references, Measure(metrics=(metric,)))
    assert score.value == pytest.approx(answer["score"], abs=1e-6)
    assert (score.name, score.signature) == (answer["name"], answer["signature"])
    assert 1 < score.value < 99


def test_options_change_scores_as_those_of_the_command_do(texts):
    lines, files = texts
    options = ["-m", "bleu", "chrf", "-lc", "--chrf-lowercase", "--tokenize", "intl"]
    answer = sacrebleu([files["reference"]], [files["bad"]], *options)
    measure = Measure(metrics=("bleu", "chrf"), lowercase=True, tokenize="intl")
    scores = score_systems({"bad": lines["bad"]}, {"r": lines["reference"]}, measure)
    assert [s.signature for s in scores] == [a["signature"] for a in answer]
    assert [s.value for s in scores] == pytest.approx([a["score"] for a in answer], abs=1e-6)
    cased = score_systems({"bad": lines["bad"]}, {"r": lines["reference"]}, Measure())
    assert cased[0].value < scores[0].value - 1


def test_intervals_are_those_of_the_command(texts):
    lines, files = texts
    answer = sacrebleu([files["reference"]], [files["good"]], "-m", "bleu", "chrf", "-ci")
    measure = Measure(metrics=("bleu", "chrf"))
    scores = score_systems(
        {"good": lines["good"]}, {"r": lines["reference"]}, measure, confidence=True
    )
    for score, expected in zip(scores, answer, strict=True):
        assert score.signature == expected["signature"]
        assert score.mean == pytest.approx(expected["confidence_mean"], abs=1e-5)
        assert score.half_width == pytest.approx(expected["confidence_var"], abs=1e-5)


@pytest.mark.parametrize(
    ("test", "option", "metrics"),
    [
        ("bootstrap", "--paired-bs", {"bleu": "BLEU"}),  # sacreBLEU 2.6 can't print others so
        ("randomisation", "--paired-ar", {"bleu": "BLEU", "chrf": "chrF2", "ter": "TER"}),
    ],
)
def test_paired_tests_are_those_of_the_command(texts, test, option, metrics):
    lines, files = texts
    systems = {name: lines[name] for name in ("good", "bad", "second")}
    paths = [files[name] for name in systems]
    rows = sacrebleu([files["reference"]], paths, "-m", *metrics, option)
    measure = Measure(metrics=tuple(metrics))
    scores = score_systems(systems, {"r": lines["reference"]}, measure, paired=test)
    expected = [row[name] for name in metrics.values() for row in rows]
    for score, wanted in zip(scores, expected, strict=True):
        assert score.value == pytest.approx(wanted["score"], abs=1e-6)
        assert score.p_value == pytest.approx(wanted["p_value"])
        assert (score.mean, score.half_width) == pytest.approx((wanted["mean"], wanted["ci"]))
    assert [s.p_value is None for s in scores] == [True, False, False] * len(metrics)


def test_validation_scores_are_the_same_numbers(texts):
    lines, _ = texts
    found = corpus_scores(lines["good"], lines["reference"], Measure(metrics=("ter", "bleu")))
    scores = score_systems({"": lines["good"]}, {"r": lines["reference"]}, Measure(metrics=METRICS))
    assert found == {s.metric: s.value for s in scores if s.metric in ("ter", "bleu")}
    assert list(found) == ["ter", "bleu"]


def test_texts_that_do_not_fit_are_named():
    with pytest.raises(DataError) as error:
        score_systems({"a.de": ["x"]}, {"r.de": ["x", "y"]}, Measure())
    assert str(error.value) == (
        "translations are compared line by line, but r.de has 2 lines, a.de has 1 lines"
    )
    with pytest.raises(DataError, match=r"nothing to score: r\.de, a\.de have no lines"):
        score_systems({"a.de": []}, {"r.de": []}, Measure())
    with pytest.raises(DataError, match="at least two files of translations"):
        score_systems({"a.de": ["x"]}, {"r.de": ["x"]}, Measure(), paired="bootstrap")
