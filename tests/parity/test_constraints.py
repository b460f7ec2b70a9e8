"""Prefixes and phrases against all outputs of a small vocabulary."""

import itertools
from dataclasses import replace

import pytest
import torch

from seqtrans.translation.inference.batch_search import search_input
from seqtrans.translation.protocols import SourceBatch
from seqtrans.translation.search.beam import BeamSearch
from seqtrans.translation.search.rules import OutputRules
from tests.parity.test_beam_search import path_score
from tests.support.prefix_model import BOS, EOS, PrefixModel
from tests.support.searches import with_settings

MAX_LENGTH = 5
TOKENS = (3, 4, 5)
SEARCH = BeamSearch(
    rules=OutputRules(bos=BOS, eos=EOS, banned=(0, BOS), max_length=MAX_LENGTH), beam_size=100
)
WISHES = {
    "nothing": {},
    "a token": {"constraints": ((4,),)},
    "a phrase": {"constraints": ((3, 4, 5),)},
    "two that overlap": {"constraints": ((3, 4), (4, 3))},
    "one begins as another": {"constraints": ((3, 3), (3, 5))},
    "one within itself": {"constraints": ((3, 4, 3, 3),)},
    "the same twice": {"constraints": ((5,), (5,))},
    "not a token": {"avoid": ((3,),)},
    "not phrases": {"avoid": ((4, 4), (3, 5), (5, 3, 5))},
    "both": {"constraints": ((4, 5),), "avoid": ((3, 3),)},
    "a beginning": {"prefix": (5, 3)},
    "a beginning and a phrase": {"prefix": (5, 3), "constraints": ((3, 4),)},
    "everything": {"prefix": (4,), "constraints": ((3, 4), (5,)), "avoid": ((5, 3),)},
}


def has(body, phrase):
    return any(body[i : i + len(phrase)] == phrase for i in range(len(body)))


def is_allowed(body, wish):
    prefix = wish.get("prefix", ())
    if body[: len(prefix)] != prefix:
        return False
    avoided = wish.get("avoid", ())
    return all(has(body, phrase) for phrase in wish.get("constraints", ())) and not any(
        has(body, phrase) for phrase in avoided
    )


def best_of_all(table, wish):
    bodies = (b for n in range(MAX_LENGTH) for b in itertools.product(TOKENS, repeat=n))
    table = table.tolist()
    return max((path_score(table, body, 1.0), body) for body in bodies if is_allowed(body, wish))


def search_wishes(search, model, wishes):
    source = torch.arange(len(wishes))[:, None].repeat(1, 2)
    inputs = [replace(search_input([n, n]), **wish) for n, wish in enumerate(wishes)]
    return search(model, SourceBatch(source, torch.ones_like(source, dtype=torch.bool)), inputs)


@pytest.mark.parametrize("seed", range(3))
def test_a_beam_as_wide_as_the_space_finds_the_best_of_all_outputs(seed):
    model = PrefixModel(seed, sentences=len(WISHES), vocab=6)
    found = search_wishes(SEARCH, model, list(WISHES.values()))
    for table, wish, (best, *_) in zip(model.table, WISHES.values(), found, strict=True):
        score, body = best_of_all(table, wish)
        assert tuple(best.tokens) == body, wish
        assert best.score == pytest.approx(score)


@pytest.mark.parametrize(("beam_size", "enough"), [(1, None), (2, 1), (3, None), (5, 1)])
def test_narrow_beams_keep_every_wish_and_sentences_do_not_mix(beam_size, enough):
    search = with_settings(SEARCH, beam_size=beam_size, max_length=10, enough=enough)
    # Narrow beams may be led into a corner where nothing but a phrase to avoid would do.
    wishes = [wish for wish in WISHES.values() if not (wish.get("avoid") and len(wish) > 1)]
    for seed in range(3):
        model = PrefixModel(seed, sentences=len(wishes), vocab=6, spread=3.0)
        found = search_wishes(search, model, wishes)
        plain = search_wishes(search, model, [{}] * len(wishes))
        for n, (wish, (best, *_)) in enumerate(zip(wishes, found, strict=True)):
            assert is_allowed(tuple(best.tokens), wish), (wish, best)
            assert best.score == pytest.approx(path_score(model.table[n].tolist(), best.tokens, 1))
            if not wish:
                assert best == plain[n][0]
            alone = search_wishes(search, model, [{}] * n + [wish])
            assert alone[n][0] == best


def test_what_can_not_be_met_is_named_and_the_rest_is_met():
    wish = {"constraints": ((0,), (4, 5))}  # padding is banned
    (found,) = search_wishes(with_settings(SEARCH, beam_size=3), PrefixModel(1, 1, 6), [wish])
    one = replace(search_input([0]), **wish)
    assert one.unmet(found[0].tokens) == [(0,)]


def test_a_prefix_that_ends_is_all_of_the_output_however_long_it_is():
    prefix = (3, 4, 5, 3, 4, 5, 3, 4)
    (found,) = search_wishes(SEARCH, PrefixModel(1, 1, 6), [{"prefix": (*prefix, EOS)}])
    assert [tuple(one.tokens) for one in found] == [prefix]


def test_a_phrase_has_tokens():
    with pytest.raises(ValueError, match="must have a token"):
        replace(search_input([0]), avoid=((),))
