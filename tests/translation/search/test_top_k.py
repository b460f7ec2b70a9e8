"""The best continuations against sorting everything."""

import pytest
import torch

from seqtrans.translation.search.top_k import NEVER, best_continuations


def sorted_continuations(log_prob, log_probs, count, banned):
    """All pairs of hypothesis and token of one sentence, sorted in plain Python."""
    pairs = [
        (lp + value, parent, token)
        for parent, (lp, row) in enumerate(zip(log_prob, log_probs, strict=True))
        for token, value in enumerate(row)
        if token not in banned
    ]
    return sorted(pairs, reverse=True)[:count]


@pytest.mark.parametrize("vocab", [3, 63, 64, 65, 640, 1001])
@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("where", ["none", "first", "last", "best"])
def test_they_are_what_sorting_everything_gives(vocab, size, where):
    generator = torch.Generator().manual_seed(vocab)
    log_probs = torch.randn(3, size, vocab, generator=generator).double() * 3
    log_prob = -torch.rand(3, size, generator=generator).double() * 9  # hypotheses differ
    best = log_probs.amax((0, 1)).topk(min(vocab - 1, 30)).indices.tolist()  # in many chunks
    banned = {"none": (), "first": (0, 1), "last": (vocab - 1,), "best": tuple(best)}[where]
    found = best_continuations(log_prob, log_probs, 2 * size, banned)
    for row in range(3):
        expected = sorted_continuations(
            log_prob[row].tolist(), log_probs[row].tolist(), 2 * size, banned
        )
        triples = zip(*(x[row].tolist() for x in found), strict=True)
        assert [t for t in triples if t[0] > NEVER] == expected


def test_empty_slots_give_no_candidates_and_tokens_stay_in_the_vocabulary():
    log_prob = torch.tensor([[-1.0, NEVER, NEVER]])
    found = best_continuations(log_prob, torch.zeros(1, 3, 2), 6, banned=(0,))
    assert found.log_prob[0].tolist() == [-1.0] + [NEVER] * 5
    assert (int(found.parent[0, 0]), int(found.token[0, 0])) == (0, 1)
    assert int(found.token.max()) < 2
    assert int(found.parent.max()) < 3
