"""Guards against repetition in the output."""

from collections.abc import Iterator, Sequence

import torch

from seqtrans.tensor_types import Float, Int, Tensor
from seqtrans.translation.search.top_k import NEVER

SPACE = "\u2581"  # a space in pieces, as in sentencepiece


def without_repeats(
    log_probs: Float[Tensor, "B K V"], history: Int[Tensor, "B K T"], size: int
) -> Float[Tensor, "B K V"]:
    """Return log-probabilities that are ``-inf`` for tokens that complete a repeated n-gram.

    Args:
        log_probs: Log-probability of each next token; not changed.
        history: Previous tokens of each hypothesis, without BOS.
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
    """Return log-probabilities that are ``-inf`` for tokens that repeat the last ones directly.

    A single token may follow itself once, as letters of a word do.

    Args:
        log_probs: Log-probability of each next token; not changed.
        history: Previous tokens of each hypothesis, without BOS.
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
    token = history.flip(2)[:, :, : len(repeats)]  # it would complete a loop of this length
    penalty = torch.zeros_like(token, dtype=log_probs.dtype)
    return log_probs.scatter_add(2, token, penalty.masked_fill(torch.stack(repeats, 2), NEVER))


class WordGuard:
    """Forbids tokens that repeat words, in whatever way words are split into tokens.

    A model trained with subword sampling knows many segmentations of a word and evades guards on
    tokens. Text without spaces has no words.

    Args:
        texts: The text of each token, with spaces written as in sentencepiece.
        size: No n-gram of this many words occurs twice; 0: no limit.
        loops: Whether to forbid direct repetition of words.
    """

    def __init__(self, texts: Sequence[str], size: int, *, loops: bool) -> None:
        self.size = size
        self.loops = loops
        self._texts = texts
        self._ids: dict[str, list[int]] = {}
        for token, text in enumerate(texts):
            self._ids.setdefault(text, []).append(token)

    def __call__(
        self, log_probs: Float[Tensor, "B K V"], history: Int[Tensor, "B K T"]
    ) -> Float[Tensor, "B K V"]:
        """Return log-probabilities that are ``-inf`` for forbidden tokens.

        Args:
            log_probs: Log-probability of each next token; not changed.
            history: Previous tokens of each hypothesis, without BOS.
        """
        forbidden = [
            (sentence, slot, token)
            for sentence, hypotheses in enumerate(history.tolist())
            for slot, tokens in enumerate(hypotheses)
            for token in self._forbidden_tokens(tokens)
        ]
        if not forbidden:
            return log_probs
        index = torch.tensor(forbidden, device=log_probs.device).unbind(1)
        return log_probs.index_put(index, log_probs.new_tensor(NEVER))

    def _forbidden_tokens(self, tokens: Sequence[int]) -> Iterator[int]:
        """Yield the ids that would complete a forbidden word, some of them twice."""
        *before, last = "".join([self._texts[token] for token in tokens]).split(SPACE)
        before = [word for word in before if word]
        for word in self._forbidden_words([*before, last] if last else before):
            yield from self._ids.get(SPACE + word, ())
        for word in self._forbidden_words(before):
            if word.startswith(last):
                yield from self._ids.get(word[len(last) :], ())

    def _forbidden_words(self, words: Sequence[str]) -> Iterator[str]:
        """Yield the words that must not come next."""
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
