"""Sampling against exact probabilities, and its parts against plain lists."""

import itertools
import math
from collections import Counter

import pytest
import torch

from seqtrans.translation.inference.batch_search import search_input
from seqtrans.translation.protocols import SearchInput, SourceBatch
from seqtrans.translation.search.rules import OutputRules
from seqtrans.translation.search.sampling import Sampling, draw, truncate
from tests.support.prefix_model import BOS, EOS, PrefixModel, next_prefix
from tests.support.searches import with_settings

RULES = OutputRules(bos=BOS, eos=EOS, max_length=3)
SAMPLING = Sampling(rules=RULES)
NEVER = -math.inf
ODDS = 22.46  # chi-square of 6 degrees of freedom is below this with probability 0.999


def sample(search, model, seeds):
    """What is drawn for the first sentence of the model, once for each seed."""
    source = torch.zeros(len(seeds), 2, dtype=torch.long)
    inputs = [SearchInput([0], seed) for seed in seeds]
    return search(model, SourceBatch(source, torch.ones_like(source, dtype=torch.bool)), inputs)


def plain_distribution(log_probs, temperature, top_k, top_p):
    """Probabilities of the next token by the definition, with lists."""
    weights = [math.exp(x / temperature) for x in log_probs]
    order = sorted(range(len(weights)), key=lambda i: -weights[i])
    order = order[: top_k or len(order)]
    total, enough, kept = sum(weights[i] for i in order), 0.0, []
    for i in order:
        if enough >= top_p * total:
            break
        kept.append(i)
        enough += weights[i]
    return [weights[i] / enough if i in kept else 0.0 for i in range(len(weights))]


def exact(table, **settings):
    """The probability of every output of two tokens at most."""
    found = {}
    for length in range(3):
        for body in itertools.product((3, 4), repeat=length):
            probability, prefix = 1.0, 0
            for seen, token in itertools.pairwise((BOS, *body, EOS)):
                prefix = next_prefix(prefix, seen)
                shares = plain_distribution(table[prefix].tolist(), **settings)
                probability *= shares[token] if len(body) < 2 or token != EOS else 1.0
            found[body] = probability
    assert sum(found.values()) == pytest.approx(1.0)
    return found


SETTINGS = [
    {"temperature": 1.0, "top_k": 0, "top_p": 1.0},
    {"temperature": 0.6, "top_k": 0, "top_p": 1.0},
    {"temperature": 2.0, "top_k": 2, "top_p": 1.0},
    {"temperature": 1.0, "top_k": 0, "top_p": 0.7},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize(("sentences", "samples"), [(4000, 1), (20, 200)])
def test_every_output_is_drawn_as_often_as_it_is_probable(settings, sentences, samples):
    """Over the seeds of sentences and over the samples of one."""
    model = PrefixModel(1, spread=1.0)
    expected = exact(model.table[0], **settings)
    search = with_settings(SAMPLING, n_best=samples, **settings)
    drawn = Counter(
        tuple(hypothesis.tokens)
        for hypotheses in sample(search, model, range(sentences))
        for hypothesis in hypotheses
    )
    count = sentences * samples
    assert drawn.total() == count
    assert not [body for body in drawn if not expected[body]]
    likely = {body: share for body, share in expected.items() if share}
    chi_square = sum((drawn[b] - count * p) ** 2 / (count * p) for b, p in likely.items())
    assert chi_square < ODDS
    assert len(likely) > 3


@pytest.mark.parametrize("top_k", [0, 1, 3, 40, 99])
@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9, 1.0])
def test_what_is_left_is_what_plain_lists_leave(top_k, top_p):
    log_probs = torch.randn(3, 2, 40, generator=torch.Generator().manual_seed(top_k)).double() * 2
    log_probs[0, 0, :20] = NEVER
    found = truncate(log_probs, top_k, top_p).softmax(2)
    expected = [
        [plain_distribution(row.tolist(), 1.0, top_k, top_p) for row in rows] for rows in log_probs
    ]
    torch.testing.assert_close(found, torch.tensor(expected).double())


def test_a_token_is_drawn_where_its_share_of_the_interval_is():
    generator = torch.Generator().manual_seed(3)
    log_probs = torch.randn(50, 4, 9, generator=generator).double()
    log_probs[:, :, 4] = NEVER
    uniform = torch.rand(50, 4, generator=generator).double()
    uniform[0, 0], uniform[1, 0] = 0.0, 1 - 2**-53
    shares = log_probs.softmax(2).tolist()
    for row, column in itertools.product(range(50), range(4)):
        ends = itertools.accumulate(shares[row][column])
        expected = next((i for i, end in enumerate(ends) if end > uniform[row, column]), 8)
        assert draw(log_probs, uniform)[row, column] == expected


@pytest.mark.parametrize(
    "settings", [{"temperature": 1e-3}, {"temperature": 1e-50}, {"top_k": 1}, {"top_p": 1e-9}]
)
def test_drawing_only_what_is_likeliest_is_taking_it(settings):
    lengths = set()
    for seed in range(10):
        model = PrefixModel(seed)
        ((drawn,),) = sample(with_settings(SAMPLING, **settings), model, [9])
        body, prefix, token = [], 0, BOS
        while token != EOS:
            prefix = next_prefix(prefix, token)
            token = EOS if len(body) == 2 else int(model.table[0, prefix].argmax())
            body.append(token)
        assert drawn.tokens == body[:-1]
        lengths.add(len(body))
    assert len(lengths) > 1


def test_seeds_decide():
    model = PrefixModel(2, vocab=50, spread=1.0)
    search = with_settings(SAMPLING, n_best=5, max_length=8)
    first = sample(search, model, [1, 2, 3])
    assert sample(search, model, [3, 1, 2]) == [first[2], first[0], first[1]]
    assert sample(with_settings(search, seed=7), model, [1, 2, 3]) != first
    assert len({tuple(h.tokens) for hypotheses in first for h in hypotheses}) > 10


def test_the_seed_of_a_sentence_is_that_of_its_ids_alone():
    seeds = [search_input(ids).seed for ids in ([], [1], [1, 2], [2, 1], torch.tensor([1, 2]))]
    assert seeds[2] == seeds[4]
    assert len(set(seeds)) == 4
    assert all(0 <= seed < 2**64 for seed in seeds)
    assert search_input([4, 5, 6]).seed == 8445214801409852384  # as of the first version


@pytest.mark.parametrize("value", [math.nan, NEVER])
def test_what_is_not_a_number_is_an_error_and_not_an_endless_loop(value):
    model = PrefixModel(0)
    model.table[0, :, :] = value
    with pytest.raises(FloatingPointError, match=r"not numbers|no output any probability"):
        sample(SAMPLING, model, [0])
