"""Guards against output that repeats itself: no n-gram twice, or no loops."""

import torch

from seqtrans.decoding.candidates import NEVER
from seqtrans.nn.gather import gather_hypotheses
from seqtrans.shapes import Float, Int, Tensor


def without_repeats(
    log_probs: Float[Tensor, "B K V"], history: Int[Tensor, "B K T"], size: int
) -> Float[Tensor, "B K V"]:
    """Return log-probabilities that are ``-inf`` for what would complete a repeated n-gram.

    Args:
        log_probs: Log-probability of every next token; only read.
        history: Tokens of every hypothesis so far, without BOS.
        size: Tokens of an n-gram, at least 1.
    """
    if history.size(2) < size:
        return log_probs
    ngrams = history.unfold(2, size, 1)  # (B, K, N, size)
    ending = history[:, :, history.size(2) - size + 1 :]
    repeats = (ngrams[:, :, :, :-1] == ending[:, :, None]).all(3)
    penalty = torch.zeros_like(repeats, dtype=log_probs.dtype).masked_fill(repeats, NEVER)
    return log_probs.scatter_add(2, ngrams[:, :, :, -1], penalty)


def without_loops(
    log_probs: Float[Tensor, "B K V"], history: Int[Tensor, "B K T"]
) -> Float[Tensor, "B K V"]:
    """Return log-probabilities that are ``-inf`` for what would say the last tokens once more.

    One token may follow itself, as letters of a word do, but not twice.

    Args:
        log_probs: Log-probability of every next token; only read.
        history: Tokens of every hypothesis so far, without BOS.
    """
    length = history.size(2)
    if length < 2:
        return log_probs
    repeats = [history[:, :, -1] == history[:, :, -2]]
    repeats += [
        (
            history[:, :, length - size + 1 :]
            == history[:, :, length - 2 * size + 1 : length - size]
        ).all(2)
        for size in range(2, (length + 1) // 2 + 1)
    ]
    token = history.flip(2)[:, :, : len(repeats)]  # which would make that many tokens a loop
    penalty = torch.zeros_like(token, dtype=log_probs.dtype)
    return log_probs.scatter_add(2, token, penalty.masked_fill(torch.stack(repeats, 2), NEVER))


def extend(
    history: Int[Tensor, "B K T"], parent: Int[Tensor, "B J"], token: Int[Tensor, "B J"]
) -> Int[Tensor, "B J T+1"]:
    """Return the tokens of J hypotheses that continue ``parent`` by ``token``."""
    return torch.cat((gather_hypotheses(history, parent), token[:, :, None]), dim=2)
