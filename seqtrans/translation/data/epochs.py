"""The micro-batches of an epoch: a pure function of the corpus, the seed and the epoch."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from seqtrans.translation.data.batch import TranslationBatch, collate_pairs
from seqtrans.translation.data.batch_plan import Plan, largest_batch, plan_epoch
from seqtrans.translation.data.encoded_corpus import EncodedCorpus, corpus_of
from seqtrans.translation.tokenization.segmenters import Segmenters

_SAMPLED_PAIRS = 1 << 16
"""Pairs segmented anew at a time. A second's work, so that training does not wait for long."""


@dataclass(frozen=True, eq=False)
class Epochs:
    """Batches of training pairs by token budget, planned by the lengths they really have.

    Where the corpus keeps its text, subwords are drawn anew in every epoch, block by block of a
    random order, before the batches of the block are planned: else the lengths a plan goes by
    would not be those it gets, and a third of all positions would be padding.

    Args:
        corpus: Sentence pairs; with text beside the ids where subwords are to be sampled.
        segmenters: Text of both languages to ids.
        batch_tokens: Most positions, padding included, of either side of a batch.
        seed: Decides the order of batches and the sampling of subwords.
    """

    corpus: EncodedCorpus
    segmenters: Segmenters
    batch_tokens: int
    seed: int

    def batches(self, epoch: int) -> Iterator[Callable[[], TranslationBatch]]:
        """Functions that make the batches of an epoch; one not called costs next to nothing."""
        for number, block in enumerate(self._blocks(epoch)):
            plan = self._plan(block, epoch, number)
            for indices in plan:
                yield partial(self._collate, block, indices)

    def count(self) -> int:
        """Batches of the first epoch, as if no subwords were sampled."""
        return len(self._plan(self.corpus, epoch=0, number=0))

    def largest(self) -> TranslationBatch:
        """The batch with the most positions of the first epoch's first block."""
        block = next(self._blocks(epoch=0))
        plan = self._plan(block, epoch=0, number=0)
        found = largest_batch(plan, block.source_lengths, block.target_lengths)
        return self._collate(block, plan[found])

    def _blocks(self, epoch: int) -> Iterator[EncodedCorpus]:
        """The corpus in parts that are planned together: as it is, or with sampled subwords."""
        sources, targets = self.corpus.source_text, self.corpus.target_text
        if sources is None or targets is None:
            yield self.corpus
            return
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.corpus))
        for number, first in enumerate(range(0, len(order), _SAMPLED_PAIRS)):
            block = order[first : first + _SAMPLED_PAIRS].tolist()
            key = np.random.SeedSequence((self.seed, epoch, number))
            seeds = [int(word) for word in key.generate_state(2)]
            source = self.segmenters.source.sample([sources[i] for i in block], seeds[0])
            target = self.segmenters.target.sample([targets[i] for i in block], seeds[1])
            yield corpus_of(list(zip(source, target, strict=True)))

    def _plan(self, block: EncodedCorpus, epoch: int, number: int) -> Plan:
        seed = block_seed(self.seed, number)
        lengths = block.source_lengths, block.target_lengths
        return plan_epoch(*lengths, batch_tokens=self.batch_tokens, seed=seed, epoch=epoch)

    def _collate(self, block: EncodedCorpus, indices: np.ndarray) -> TranslationBatch:
        pairs = block.pairs(indices.tolist())
        return collate_pairs(pairs, *(segmenter.specials for segmenter in self.segmenters))


def block_seed(seed: int, number: int) -> int:
    """The seed by which the batches of a block are planned; an unsampled corpus is block 0."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1)[0])
