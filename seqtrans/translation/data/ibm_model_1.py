"""IBM model 1 (Brown et al., 1993): which target tokens translate which source tokens."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float, Int

from seqtrans.translation.data.encoded_corpus import EncodedCorpus
from seqtrans.translation.protocols import Ids

_CHUNK_LINKS = 1 << 22  # pairs of tokens computed at once: some 200 MB
Keys: TypeAlias = Int[np.ndarray, " N"]


class TranslationTable(NamedTuple):
    """Probabilities of target tokens given source tokens that occur with them in a pair.

    Attributes:
        source: Source token of each entry, ascending.
        target: Target token of each entry, ascending for a source token.
        probability: p(target | source); for a source token they sum to 1.
    """

    source: Int[np.ndarray, " N"]
    target: Int[np.ndarray, " N"]
    probability: Float[np.ndarray, " N"]


class _Links(NamedTuple):
    """Every pair of a target token and a source token, or none, of the same sentence pair."""

    key: Int[np.ndarray, " L"]  # source token * number of target tokens + target token
    start: Int[np.ndarray, " T"]  # first link of each target token, whose links are consecutive


def train_ibm_model_1(
    corpus: EncodedCorpus, source_vocab: int, target_vocab: int, iterations: int = 5
) -> TranslationTable:
    """Estimate p(target token | source token) by expectation maximization, from uniform.

    An empty word that every source sentence has takes target tokens that translate nothing; it is
    left out of the table. The order of tokens has no influence.

    Memory grows with the number of different token pairs; the corpus is read anew in every
    iteration.

    Args:
        corpus: Sentence pairs.
        source_vocab: Number of source tokens.
        target_vocab: Number of target tokens.
        iterations: How often to estimate, at least 1.
    """
    empty = source_vocab

    def links() -> Iterator[_Links]:
        return (_links(chunk, empty, target_vocab) for chunk in _chunks(corpus))

    keys = _distinct(chunk.key for chunk in links())
    source = keys // target_vocab
    probability = np.ones(len(keys))
    for _ in range(iterations):
        counts = np.zeros(len(keys))
        for chunk in links():
            _count(chunk, keys, probability, counts)
        totals = np.bincount(source, counts, minlength=source_vocab + 1)
        probability = counts / np.maximum(totals, np.finfo(float).tiny)[source]
    real = source != empty
    return TranslationTable(source[real], keys[real] % target_vocab, probability[real])


def _count(
    links: _Links,
    keys: Keys,
    probability: Float[np.ndarray, " N"],
    counts: Float[np.ndarray, " N"],
) -> None:
    """Add the expected number of times that each entry is a translation."""
    distinct, inverse = np.unique(links.key, return_inverse=True)
    entry = np.searchsorted(keys, distinct)  # sorted, so memory is read in order
    weight = probability[entry][inverse]
    sizes = np.diff(links.start, append=len(weight))
    weight /= np.repeat(np.add.reduceat(weight, links.start), sizes)
    counts[entry] += np.bincount(inverse, weight, minlength=len(distinct))


def _distinct(chunks: Iterable[Keys]) -> Keys:
    """Return all keys, sorted; they are merged when there may be twice as many as before."""
    keys, found = np.empty(0, np.int64), list[Keys]()
    for chunk in chunks:
        found.append(np.unique(chunk))
        if sum(map(len, found)) > len(keys):
            keys, found = np.unique(np.concatenate([keys, *found])), []
    return np.unique(np.concatenate([keys, *found]))


def _links(pairs: Sequence[tuple[Ids, Ids]], empty: int, target_vocab: int) -> _Links:
    sources = [np.append(np.asarray(source, np.int64), empty) for source, _ in pairs]
    lengths = np.array([len(source) for source in sources])
    target = np.concatenate([np.asarray(target, np.int64) for _, target in pairs])
    of_target = np.repeat(np.arange(len(pairs)), [len(target) for _, target in pairs])
    sizes = lengths[of_target]  # links of each target token
    start = np.cumsum(sizes) - sizes
    first = (np.cumsum(lengths) - lengths)[of_target]  # of its sentence among source tokens
    place = np.arange(int(sizes.sum())) + np.repeat(first - start, sizes)
    return _Links(np.concatenate(sources)[place] * target_vocab + np.repeat(target, sizes), start)


def _chunks(corpus: EncodedCorpus) -> Iterable[list[tuple[Ids, Ids]]]:
    """Yield sentence pairs with a bounded number of links; one pair alone may have more."""
    sizes = (corpus.source_lengths.astype(np.int64) + 1) * corpus.target_lengths
    group = np.cumsum(sizes) // _CHUNK_LINKS
    edges = [*np.flatnonzero(np.diff(group, prepend=-1)).tolist(), len(sizes)]
    for first, end in pairwise(edges):
        chunk = corpus.pairs(range(first, end))
        if any(len(target) for _, target in chunk):
            yield chunk
