"""Paired tests equal what counting every way to swap lines gives, ties and all."""

import random
from itertools import product

import pytest
from sacrebleu.metrics import BLEU, CHRF, TER

from seqtrans.errors import DataError
from seqtrans.translation.evaluation.metrics import METRICS, Measure, score_systems

METRIC = {"bleu": BLEU(), "chrf": CHRF(), "chrf++": CHRF(word_order=2), "ter": TER()}
WORDS = ["red", "blue", "green", "old", "small", "cat", "dog", "tree", "house", "is", "near", "the"]


def text(lines, seed):
    draw = random.Random(seed)  # noqa: S311 - no secret
    return [" ".join(draw.choices(WORDS, k=draw.randint(4, 9))) for _ in range(lines)]


def spoilt(lines, which, seed=7):
    draw = random.Random(seed)  # noqa: S311 - no secret
    changed = [" ".join(draw.sample(line.split(), len(line.split()))) for line in lines]
    return [changed[i] if i in which else line for i, line in enumerate(lines)]


def exact(metric, first, second, references):
    """The probability by its definition: whole texts with lines swapped, scored anew."""

    def difference(a, b):
        return abs(metric.corpus_score(a, references).score - metric.corpus_score(b, references).score)  # fmt: skip # noqa: E501

    observed = difference(first, second)
    differ = [i for i, (a, b) in enumerate(zip(first, second, strict=True)) if a != b]
    hits = 0
    for swap in product((False, True), repeat=len(differ)):
        a, b = list(first), list(second)
        for i in (i for i, swapped in zip(differ, swap, strict=True) if swapped):
            a[i], b[i] = b[i], a[i]
        hits += difference(a, b) >= observed - 1e-9
    return hits / 2 ** len(differ)


def compared(systems, references, test, **options):
    names = {f"r{i}": lines for i, lines in enumerate(references)}
    return score_systems(systems, names, Measure(**options), paired=test)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("which", [(), (3,), (1, 4, 9), (0, 2, 3, 5, 8, 11)])
def test_where_few_lines_differ_the_probability_is_exact(metric, which):
    references = [text(12, 1), text(12, 2), text(12, 3)]  # TER: thirds of words
    first = spoilt(references[0], (0, 1, 4, 5), seed=3)
    second = spoilt(first, which)
    _, score = compared({"a": first, "b": second}, references, "randomisation", metrics=(metric,))
    assert score.p_value == exact(METRIC[metric], first, second, references)
    assert "ar:exact" in score.signature and "seed" not in score.signature  # noqa: PT018


def test_drawn_swaps_estimate_the_exact_probability(monkeypatch):
    reference = text(11, 1)
    first = spoilt(reference, (0, 3, 6), seed=3)
    systems = {"a": first, "b": spoilt(first, range(9))}
    (_, counted) = compared(systems, [reference], "randomisation", metrics=("chrf",))
    monkeypatch.setattr("seqtrans.translation.evaluation.significance.SWAPS", 200)
    (_, drawn) = compared(systems, [reference], "randomisation", metrics=("chrf",))
    assert "ar:200|seed:12345" in drawn.signature
    assert 0 < counted.p_value < 1
    assert drawn.p_value == pytest.approx(counted.p_value, abs=0.1)  # deviation 0.035 at most
    assert drawn.p_value != counted.p_value


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("test", ["bootstrap", "randomisation"])
def test_equal_systems_do_not_differ(metric, test):
    reference = text(30, 1)
    first = spoilt(reference, range(0, 30, 2))
    systems = {"a": first, "b": list(first), "c": [f"{line} " for line in first]}
    scores = compared(systems, [reference], test, metrics=(metric,))
    assert [score.p_value for score in scores] == [None, 1, 1]


def test_of_many_lines_too_equal_systems_do_not_differ():
    """All lines differ, and what differs in one is made up for in another."""
    reference = text(40, 1)
    first = spoilt(reference, range(20))
    halves = {"a": [*first, *reference], "b": [*reference, *first]}
    (_, score) = compared(halves, [reference * 2], "randomisation", metrics=("bleu",))
    assert score.p_value == 1
    assert "ar:10000" in score.signature


@pytest.mark.parametrize("seed", range(4))
def test_bootstrap_estimates_the_exact_probability(seed):
    """By its definition: every sample of four lines, all of them as likely."""
    reference = text(4, seed)
    first, second = spoilt(reference, (0, 1), seed), spoilt(reference, (1, 2, 3), seed + 1)
    chrf, differences = METRIC["chrf"], []
    for lines in product(range(4), repeat=4):
        drawn = [[text[i] for i in lines] for text in (first, second, reference)]
        a, b = (chrf.corpus_score(lines, [drawn[2]]).score for lines in drawn[:2])
        differences.append(abs(a - b))
    a, b = (chrf.corpus_score(lines, [reference]).score for lines in (first, second))
    mean = sum(differences) / len(differences)
    hits = sum(d - mean >= abs(a - b) - 1e-9 for d in differences)
    systems = {"a": first, "b": second}
    (_, score) = compared(systems, [reference], "bootstrap", metrics=("chrf",))
    assert score.p_value == pytest.approx(hits / len(differences), abs=0.05)  # 3 deviations


def test_randomization_gives_the_intervals_that_were_asked_for():
    reference = text(20, 1)
    systems = {"a": spoilt(reference, range(0, 20, 2)), "b": spoilt(reference, (1, 5))}
    names, measure = {"r": reference}, Measure()
    alone = score_systems(systems, names, measure, confidence=True)
    both = score_systems(systems, names, measure, confidence=True, paired="randomisation")
    plain = score_systems(systems, names, measure, paired="randomisation")
    paired = score_systems(systems, names, measure, paired="bootstrap")
    assert [(s.mean, s.half_width) for s in both] == [(s.mean, s.half_width) for s in alone]
    assert [(s.mean, s.half_width) for s in paired] == [(s.mean, s.half_width) for s in alone]
    assert [s.p_value for s in both] == [s.p_value for s in plain]
    assert all(score.half_width is None for score in plain)
    assert all("bs:1000" in score.signature for score in both)


def test_what_can_not_be_resampled_is_refused(monkeypatch):
    one = {"a": ["x y"], "b": ["x z"]}
    with pytest.raises(DataError, match=r"more than one line: test by randomization$"):
        compared(one, [["x y"]], "bootstrap")
    with pytest.raises(DataError, match=r"more than one line: leave out the interval$"):
        score_systems(one, {"r": ["x y"]}, Measure(), confidence=True)
    assert [s.p_value for s in compared(one, [["x y"]], "randomisation")] == [None, 1] * 3
    monkeypatch.setenv("SACREBLEU_SEED", "twelve")
    with pytest.raises(DataError, match="SACREBLEU_SEED is 'twelve': set it to a whole number"):
        compared(one, [["x y"]], "randomisation")
    plain = score_systems(one, {"r": ["x y"]}, Measure(metrics=("chrf",)))  # draws nothing
    assert "seed" not in plain[0].signature


def test_a_seed_of_one_s_own_is_that_of_the_signature(monkeypatch):
    reference = text(30, 1)
    systems = {"a": spoilt(reference, range(9)), "b": spoilt(reference, range(5, 30))}
    found = {}
    for seed in ("0", "0", "1", "none"):
        monkeypatch.setenv("SACREBLEU_SEED", seed)
        (_, score) = compared(systems, [reference], "bootstrap", metrics=("chrf",))
        assert f"seed:{seed}|" in score.signature
        assert found.setdefault(seed, score.mean) == score.mean or seed == "none"
    assert len(set(found.values())) == 3
