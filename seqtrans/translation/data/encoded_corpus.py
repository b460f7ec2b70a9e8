"""Sentence pairs as token ids, and the micro-batches of each epoch over them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from typing import SupportsIndex

import numpy as np
from jaxtyping import Int, Integer

from seqtrans.translation.data.ahead import Ahead
from seqtrans.translation.data.batch import (
    Plan,
    TranslationBatch,
    collate_pairs,
    largest_batch,
    plan_epoch,
)
from seqtrans.translation.data.length_filter import Cause, DropReport
from seqtrans.translation.protocols import Ids
from seqtrans.translation.tokenization.segmenters import Segmenters

_SAMPLED_PAIRS = 1 << 16
"""Pairs segmented anew at a time, a second of work: the first block is what training waits for."""


class Rows:
    """Arrays of different lengths.

    Args:
        values: Elements of all rows, end to end.
        offsets: Start of each row in ``values``, and the end of the last.
        lengths: Number of elements of each row.
    """

    def __init__(
        self,
        values: Integer[np.ndarray, " values"],
        offsets: Int[np.ndarray, " offsets"],
        lengths: Int[np.ndarray, " N"],
    ) -> None:
        self.lengths = lengths
        self._values = values
        self._offsets = offsets

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: SupportsIndex) -> Integer[np.ndarray, " row"]:
        row = range(len(self))[index]
        return self._values[self._offsets[row] : self._offsets[row + 1]]

    def counts(self, size: int) -> Int[np.ndarray, " size"]:
        """Return how often each of the numbers 0 to ``size - 1`` occurs."""
        return np.bincount(self._values[self._offsets[0] : self._offsets[-1]], minlength=size)


class Texts:
    """Lines of text.

    Args:
        rows: The UTF-8 bytes of every line.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: SupportsIndex) -> str:
        return self._rows[index].tobytes().decode()


@dataclass(frozen=True, eq=False)
class EncodedCorpus:
    """Sentence pairs as token ids, without BOS and EOS, and as text if that was kept."""

    source: Rows
    target: Rows
    source_text: Texts | None
    """Text of ``source``; None unless it was kept."""
    target_text: Texts | None
    """Text of ``target``; None unless it was kept."""
    report: DropReport
    """Number of pairs that were left out, by cause."""

    def __len__(self) -> int:
        return len(self.source)

    @property
    def source_lengths(self) -> Int[np.ndarray, " N"]:
        """Number of tokens of each source sentence."""
        return self.source.lengths

    @property
    def target_lengths(self) -> Int[np.ndarray, " N"]:
        """Number of tokens of each target sentence."""
        return self.target.lengths

    def pairs(self, indices: Iterable[SupportsIndex]) -> list[tuple[Ids, Ids]]:
        """Return the source and target ids of some pairs."""
        return [(self.source[i], self.target[i]) for i in indices]


def corpus_of(pairs: Sequence[tuple[Ids, Ids]]) -> EncodedCorpus:
    """Build a corpus in memory from pairs of token ids."""
    rows: list[Rows] = []
    for side in (0, 1):
        lengths = np.fromiter((len(pair[side]) for pair in pairs), np.int32, count=len(pairs))
        values = chain.from_iterable(pair[side] for pair in pairs)
        ids = np.fromiter(values, np.uint32, count=int(lengths.sum()))
        rows.append(Rows(ids, np.append(0, np.cumsum(lengths, dtype=np.int64)), lengths))
    return EncodedCorpus(rows[0], rows[1], None, None, DropReport({Cause.KEPT: len(pairs)}))


@dataclass(frozen=True, eq=False)
class Epochs:
    """The micro-batches of each epoch: a pure function of the corpus, the seed and the epoch.

    If the corpus has text, each epoch samples its subwords: in random order, block by block, each
    block before its batches are planned. Batches planned by other lengths than the sampled ones
    would be a third padding.

    Args:
        corpus: Sentence pairs; with text if subwords are to be sampled.
        segmenters: Text to ids.
        batch_tokens: Most positions of a batch on either side, padding included.
        seed: Seed of the run.
        both_directions: How many epochs hold every pair a second time, with source and target
            exchanged; needs one vocabulary for both languages.
    """

    corpus: EncodedCorpus
    segmenters: Segmenters
    batch_tokens: int
    seed: int
    both_directions: int = 0

    def batches(self, epoch: int) -> Iterator[Callable[[], TranslationBatch]]:
        """Yield functions that build the batches of an epoch; skipping one is cheap."""
        for number, block in enumerate(self._blocks(epoch)):
            plan = self._plan(block, epoch, number)
            for indices in plan:
                yield partial(self._collate, block, indices)

    def count(self, epoch: int) -> int:
        """Return the number of batches of an epoch without sampling."""
        return len(self._plan(self.corpus, epoch, number=0))

    def largest(self) -> TranslationBatch:
        """Build the largest batch of the first block of the first epoch."""
        # Training begins with this block, so a sampled one is kept for it.
        is_sampled = self.corpus.source_text is not None
        block = self._sampled.start(0, 0).result() if is_sampled else self.corpus
        plan = self._plan(block, epoch=0, number=0)
        index = largest_batch(plan, *self._lengths(block, epoch=0))
        return self._collate(block, plan[index])

    def _blocks(self, epoch: int) -> Iterator[EncodedCorpus]:
        """Yield parts of the corpus that are planned together: all of it, or sampled blocks."""
        if self.corpus.source_text is None:
            yield self.corpus
            return
        count = -(-len(self.corpus) // _SAMPLED_PAIRS)
        for number in range(count):
            block = self._sampled(epoch, number)
            # Training uses this block meanwhile.
            self._sampled.start(*((epoch, number + 1) if number + 1 < count else (epoch + 1, 0)))
            yield block

    @cached_property
    def _sampled(self) -> Ahead[EncodedCorpus]:
        return Ahead(self._sample)

    def _sample(self, epoch: int, number: int) -> EncodedCorpus:
        """Segment a block of the pairs of an epoch anew."""
        sources, targets = self.corpus.source_text, self.corpus.target_text
        if sources is None or targets is None:
            raise ValueError("subwords can't be sampled of a corpus without text")
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.corpus))
        first = number * _SAMPLED_PAIRS
        block = order[first : first + _SAMPLED_PAIRS].tolist()
        key = np.random.SeedSequence((self.seed, epoch, number))
        seeds = [int(word) for word in key.generate_state(2)]
        source = self.segmenters.source.sample([sources[i] for i in block], seeds[0])
        target = self.segmenters.target.sample([targets[i] for i in block], seeds[1])
        return corpus_of(list(zip(source, target, strict=True)))

    def _plan(self, block: EncodedCorpus, epoch: int, number: int) -> Plan:
        seed = block_seed(self.seed, number)
        lengths = self._lengths(block, epoch)
        return plan_epoch(*lengths, batch_tokens=self.batch_tokens, seed=seed, epoch=epoch)

    def _lengths(self, block: EncodedCorpus, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return source and target lengths of the pairs, then of the pairs exchanged, if wanted."""
        source, target = block.source_lengths, block.target_lengths
        if epoch >= self.both_directions:
            return source, target
        return np.concatenate((source, target)), np.concatenate((target, source))

    def _collate(self, block: EncodedCorpus, indices: np.ndarray) -> TranslationBatch:
        pairs = block.pairs((indices % len(block)).tolist())
        for i in np.flatnonzero(indices >= len(block)).tolist():
            source, target = pairs[i]
            pairs[i] = target, source
        return collate_pairs(pairs, *(segmenter.specials for segmenter in self.segmenters))


def block_seed(seed: int, number: int) -> int:
    """Return the seed of the plan of a block; a corpus without sampling is block 0."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1)[0])
