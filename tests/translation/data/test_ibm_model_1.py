"""IBM model 1 against expectation maximization written as in the textbook."""

from collections import defaultdict

import numpy as np
import pytest

from seqtrans.translation.data import ibm_model_1
from seqtrans.translation.data.encoded_corpus import corpus_of
from seqtrans.translation.data.ibm_model_1 import train_ibm_model_1

SOURCES, TARGETS = 9, 7


def random_pairs(count, seed=1):
    draw = np.random.default_rng(seed)
    return [
        (
            draw.integers(4, SOURCES, draw.integers(0, 6)).tolist(),
            draw.integers(3, TARGETS, draw.integers(0, 6)).tolist(),
        )
        for _ in range(count)
    ]


def textbook(pairs, iterations):
    """Return p(target | source), None being the empty word."""
    pairs = [([*source, None], target) for source, target in pairs]
    probability = defaultdict(lambda: 1.0)
    for _ in range(iterations):
        counts, totals = defaultdict(float), defaultdict(float)
        for source, target in pairs:
            for t in target:
                norm = sum(probability[s, t] for s in source)
                for s in source:
                    counts[s, t] += probability[s, t] / norm
                    totals[s] += probability[s, t] / norm
        probability = {(s, t): count / totals[s] for (s, t), count in counts.items()}
    return {pair: p for pair, p in probability.items() if pair[0] is not None}


@pytest.mark.parametrize("links", [1, 30, 1 << 22])
@pytest.mark.parametrize("iterations", [1, 4])
def test_it_is_the_textbooks_whatever_is_computed_at_once(monkeypatch, links, iterations):
    monkeypatch.setattr(ibm_model_1, "_CHUNK_LINKS", links)
    pairs = [([], []), *random_pairs(40), ([5], [])]
    table = train_ibm_model_1(corpus_of(pairs), SOURCES, TARGETS, iterations)
    found = {(s, t): p for s, t, p in zip(*(x.tolist() for x in table), strict=True)}
    assert found == pytest.approx(textbook(pairs, iterations))


def test_it_finds_what_translates_what():
    draw = np.random.default_rng(2)
    sources = [draw.permutation(np.arange(4, 9))[:3].tolist() for _ in range(60)]
    pairs = [(source, [s + 10 for s in source] + [4]) for source in sources]
    table = train_ibm_model_1(corpus_of(pairs), 9, 20)
    for token in range(4, 9):
        of_token = table.source == token
        assert table.target[of_token][table.probability[of_token].argmax()] == token + 10
