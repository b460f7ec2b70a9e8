"""Guards against output that repeats itself: no n-gram twice, or no loops."""

from collections.abc import Iterator, Sequence

import torch

from seqtrans.nn.gather import gather_hypotheses
from seqtrans.tensor_types import Float, Int, Tensor
from seqtrans.translation.search.top_k import NEVER

SPACE = "\u2581"  # how pieces write it, as in sentencepiece


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


class WordGuard:
    """Refuse tokens that make a text say the same words again, however these are segmented.

    Training with subword sampling teaches a model many ways to write a word, so that a guard on
    tokens alone is evaded. Text without spaces has no words.

    Args:
        texts: The text of every token, where a space is written as in sentencepiece.
        size: Words of an n-gram that no text has twice; 0 allows it.
        loops: Whether to refuse words that directly follow upon the same words.
    """

    def __init__(self, texts: Sequence[str], size: int, *, loops: bool) -> None:
        self.size = size
        self.loops = loops
        self._texts = texts
        self._ids: dict[str, list[int]] = {}
        for token, text in enumerate(self._texts):
            self._ids.setdefault(text, []).append(token)

    def __call__(
        self, log_probs: Float[Tensor, "B K V"], history: Int[Tensor, "B K T"]
    ) -> Float[Tensor, "B K V"]:
        """Return log-probabilities that are ``-inf`` for the tokens to refuse.

        Args:
            log_probs: Log-probability of every next token; only read.
            history: Tokens of every hypothesis so far, without BOS.
        """
        refused = [
            (sentence, slot, token)
            for sentence, hypotheses in enumerate(history.tolist())
            for slot, tokens in enumerate(hypotheses)
            for token in self._refused(tokens)
        ]
        if not refused:
            return log_probs
        places = torch.tensor(refused, device=log_probs.device).unbind(1)
        return log_probs.index_put(places, log_probs.new_tensor(NEVER))

    def _refused(self, tokens: Sequence[int]) -> Iterator[int]:
        """Ids of what would end a word that may not be said; some may come twice."""
        *before, last = "".join([self._texts[token] for token in tokens]).split(SPACE)
        before = [word for word in before if word]
        for word in self._refused_words([*before, last] if last else before):
            yield from self._ids.get(SPACE + word, ())
        for word in self._refused_words(before):
            if word.startswith(last):
                yield from self._ids.get(word[len(last) :], ())

    def _refused_words(self, words: Sequence[str]) -> Iterator[str]:
        """Words that must not come next."""
        count, size = len(words), self.size
        if size:
            ending = words[count - size + 1 :]
            for start in range(count - size + 1):
                if words[start : start + size - 1] == ending:
                    yield words[start + size - 1]
        if self.loops:
            for size in range(1, (count + 1) // 2 + 1):
                if words[count - size + 1 :] == words[count - 2 * size + 1 : count - size]:
                    yield words[-size]


def extend(
    history: Int[Tensor, "B K T"], parent: Int[Tensor, "B J"], token: Int[Tensor, "B J"]
) -> Int[Tensor, "B J T+1"]:
    """Return the tokens of J hypotheses that continue ``parent`` by ``token``."""
    return torch.cat((gather_hypotheses(history, parent), token[:, :, None]), dim=2)
