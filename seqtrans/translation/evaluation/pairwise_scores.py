"""Sentence scores of texts against each other, all pairs at once, for minimum Bayes risk decoding.

They are sacreBLEU's sentence scores. It counts the n-grams of a pair at a time; here each text is
counted once, and a product of matrices counts what all pairs have in common.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from seqtrans.translation.evaluation.metrics import load_tokenizer

Utility = Literal["chrf", "bleu"]
Counts = npt.NDArray[np.float64]

_CHARACTERS, _BETA = 6, 2  # chrF2: longest n-gram, and the weight of recall
_WORDS = 4


class _Order(NamedTuple):
    """Counts of the n-grams of one length."""

    totals: Counts  # of each text
    matches: Counts  # of each pair: how many the texts have in common


def pairwise_scores(texts: Sequence[str], utility: Utility) -> Counts:
    """Return the score of each text (row) with each text as reference (column), from 0 to 100.

    Args:
        texts: Texts, at least one.
        utility: ``chrf`` is chrF2; ``bleu`` is smoothed sentence BLEU with tokenizer 13a.
    """
    if utility == "chrf":
        return _chrf(list(_orders([list("".join(text.split())) for text in texts], _CHARACTERS)))
    tokenizer = load_tokenizer("13a")
    words = [tokenizer(text.rstrip()).split() for text in texts]
    return _bleu(list(_orders(words, _WORDS)))


def _chrf(orders: Sequence[_Order]) -> Counts:
    """Return the F score of mean precision and mean recall, over the n-grams that both have."""
    precision = recall = np.zeros_like(orders[0].matches)
    used = np.zeros_like(precision)
    for totals, matches in orders:
        is_used = np.outer(totals > 0, totals > 0)
        precision = precision + matches / np.maximum(totals, 1)[:, None]
        recall = recall + matches / np.maximum(totals, 1)[None, :]
        used += is_used
    precision, recall = (x / np.maximum(used, 1) for x in (precision, recall))
    weighted = _BETA**2 * precision + recall
    return 100 * (1 + _BETA**2) * precision * recall / np.where(weighted > 0, weighted, 1.0)


def _bleu(orders: Sequence[_Order]) -> Counts:
    """Return BLEU of as many lengths of n-grams as a text has; precision 0 is halved ever more."""
    log_sum = np.zeros_like(orders[0].matches)
    halved, used = np.ones_like(log_sum), np.zeros(len(log_sum))
    for totals, matches in orders:
        has_any = totals > 0
        halved = np.where(matches == 0, halved / 2, halved)
        precision = np.where(matches == 0, halved, matches) / np.maximum(totals, 1)[:, None]
        log_sum += np.log(precision) * has_any[:, None]
        used += has_any
    length = orders[0].totals
    brevity = np.minimum(0.0, 1 - length[None, :] / np.maximum(length, 1)[:, None])
    score = 100 * np.exp(brevity + log_sum / np.maximum(used, 1)[:, None])
    return np.where(sum(matches for _, matches in orders) > 0, score, 0.0)


def _orders(texts: Sequence[Sequence[str]], longest: int) -> Iterator[_Order]:
    """Yield the counts of n-grams of 1 to ``longest`` units."""
    ids: dict[str, int] = {}
    units = np.array([ids.setdefault(unit, len(ids)) for text in texts for unit in text], np.int64)
    lengths = np.array([len(text) for text in texts])
    text = np.repeat(np.arange(len(texts)), lengths)  # of each unit
    left = np.repeat(lengths.cumsum(), lengths) - np.arange(len(units))  # units to its text's end
    start, gram = np.arange(len(units)), np.zeros(len(units), np.int64)
    for order in range(1, longest + 1):
        fits = left[start] >= order
        start = start[fits]
        longer = gram[fits] * len(ids) + units[start + order - 1]
        gram = np.unique(longer, return_inverse=True)[1]
        yield _counted(gram, text[start], len(texts))


def _counted(gram: npt.NDArray[np.int64], text: npt.NDArray[np.int64], texts: int) -> _Order:
    """Count n-grams.

    Two texts have as many of an n-gram in common as there are numbers k for which each has it at
    least k times.

    Args:
        gram: Numbers of n-grams.
        text: The text that has each of them.
        texts: Number of texts.
    """
    totals = np.bincount(text, minlength=texts).astype(np.float64)
    matches = np.zeros((texts, texts))
    pairs, count = np.unique(gram * texts + text, return_counts=True)
    gram, text = np.divmod(pairs, texts)
    is_shared = np.bincount(gram)[gram] > 1 if len(gram) else np.zeros(0, bool)
    for k in range(1, int(count.max(initial=0)) + 1):
        has_it = is_shared & (count >= k)
        numbers: Any = np.unique(gram[has_it], return_inverse=True)
        has = np.zeros((texts, len(numbers[0])), np.float32)
        has[text[has_it], numbers[1]] = 1
        matches += has @ has.T
    np.fill_diagonal(matches, totals)
    return _Order(totals, matches)
