"""Translation as a training task: where batches come from, what to minimize, how to judge."""

import json
import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Protocol

import numpy as np
import torch
from torch import nn

from seqtrans.errors import SeqtransError, TrainingError
from seqtrans.protocols import LossSums, ProcessGroup
from seqtrans.runtime.out_of_memory import Halving
from seqtrans.tensor_types import Tensor
from seqtrans.training.distributed.sharded_tensors import in_parts
from seqtrans.training.distributed.single_process import SINGLE_PROCESS
from seqtrans.training.micro_batches import equal_number_of_calls, shared_updates
from seqtrans.translation.data.batch import (
    Plan,
    TranslationBatch,
    collate_pairs,
    plan_by_length,
)
from seqtrans.translation.data.encoded_corpus import EncodedCorpus, Epochs
from seqtrans.translation.evaluation.perplexity import perplexity
from seqtrans.translation.inference.batch_search import plan_inputs, search_inputs
from seqtrans.translation.inference.line_windows import BLOCK_LINES, fixed_windows
from seqtrans.translation.inference.translator import LineParts, Window, window_characters
from seqtrans.translation.models.objective import Objective
from seqtrans.translation.protocols import Hypothesis, Seq2SeqModel
from seqtrans.translation.search.build import build_search
from seqtrans.translation.search.config import BeamConfig, SearchConfig
from seqtrans.translation.tokenization.segmenters import Segmenters

Found = tuple[int, list[int], float]
"""What is found for a source: its number among all, and a ``Hypothesis``; JSON can hold it."""


class CorpusScorer(Protocol):
    """Metrics of whole texts, such as BLEU, by name."""

    def __call__(self, hypotheses: Sequence[str], references: Sequence[str]) -> Mapping[str, float]:
        """Score hypotheses, line by line translations of what ``references`` translate."""
        ...


@dataclass(frozen=True)
class Validation:
    """Held-out sentence pairs and how they are judged."""

    corpus: EncodedCorpus  # every pair, none filtered out
    sources: Sequence[Sequence[str]]  # source text as it was read, file by file
    references: Sequence[str]  # target text as it was read
    decoding: SearchConfig
    scorer: CorpusScorer | None  # None: perplexity only, nothing is decoded


@dataclass(frozen=True)
class TranslationTask:
    """Minimize smoothed cross-entropy; validate by perplexity and by decoding.

    Args:
        train: Sentence pairs to learn from; with text beside the ids where subwords are sampled.
        validation: Sentence pairs to judge by.
        segmenters: Text of both languages to ids and back.
        batch_tokens: Most positions, padding included, of either side of a micro-batch.
        accumulate: Micro-batches an update; the same whatever the number of processes.
        objective: What to minimize.
        seed: Decides the order of batches and the sampling of subwords.
    """

    train: EncodedCorpus
    validation: Validation
    segmenters: Segmenters
    batch_tokens: int
    accumulate: int = 1
    objective: Objective = field(default_factory=Objective)
    seed: int = 1

    @property
    def unit(self) -> str:
        """See ``Task.unit``."""
        return "tokens"

    def updates(
        self, epoch: int, group: ProcessGroup, start: int = 0
    ) -> Iterator[Sequence[TranslationBatch]]:
        """See ``Task.updates`` and ``shared_updates``."""
        return shared_updates(self._epochs.batches(epoch), self.accumulate, group, start)

    def updates_in_epoch(self) -> int:
        """How many updates an epoch has; about, where subwords are sampled."""
        return -(-self._epochs.count() // self.accumulate)

    def loss_sums(self, model: nn.Module, batch: TranslationBatch) -> LossSums:
        """See ``Task.loss_sums``, and ``Objective`` for what it is."""
        return LossSums(*model(batch, self.objective))

    @property
    def searches(self) -> bool:
        """See ``Task.searches``."""
        return self.validation.scorer is not None

    def validate(self, model: nn.Module, group: ProcessGroup) -> Mapping[str, float]:
        """See ``Task.validate``: ``loss`` and ``perplexity`` per target token, then the scorer's.

        The loss is without label smoothing. The scores are those of what ``Translator`` makes of
        each file. Of the batches that one process would make, N take every Nth, so all is computed
        as by one and the metrics are equal.
        """
        share: dict[str, object] = {"losses": self._validation_losses(model, group)}
        windows = self._windows if self.searches else []
        share["found"] = self._search(model, windows, group) if self.searches else []
        shares = [json.loads(found) for found in group.gather(json.dumps(share))]
        targets = int(self.validation.corpus.target_lengths.sum()) + len(self.validation.corpus)
        loss = math.fsum(x for found in shares for x in found["losses"]) / targets
        metrics = {"loss": loss, "perplexity": perplexity(loss)}
        if self.validation.scorer is not None:
            every = chain.from_iterable(found["found"] for found in shares)
            hypotheses = self._joined(windows, every)
            metrics |= self.validation.scorer(hypotheses, self.validation.references)
        return metrics

    def largest_batch(self) -> TranslationBatch:
        """See ``Task.largest_batch``."""
        return self._largest

    @cached_property
    def _largest(self) -> TranslationBatch:
        return self._epochs.largest()  # where subwords are sampled, of 20,000 pairs

    def decode(self, model: nn.Module, sentences: Sequence[int]) -> list[str]:
        """Translate these lines of the validation corpus; the order is kept.

        Raises:
            TrainingError: The model computes what is not a number.
        """
        lines = list(chain.from_iterable(self.validation.sources))
        windows = [self._parts.cut([lines[i] for i in sentences])]
        return self._joined(windows, self._search(model, windows, SINGLE_PROCESS))

    @cached_property
    def _parts(self) -> LineParts:
        # Of several processes, only the first says what is for information.
        return LineParts(self.segmenters, self.validation.decoding, logging.INFO)

    @cached_property
    def _windows(self) -> list[Window]:
        """The source text in windows that are those of ``seqtrans translate`` for each file."""
        characters = window_characters(self.validation.decoding)
        return [
            self._parts.cut(window)
            for lines in self.validation.sources
            for window in fixed_windows(lines, characters, BLOCK_LINES)
        ]

    def _search(
        self, model: nn.Module, windows: Sequence[Window], group: ProcessGroup
    ) -> list[Found]:
        """The best hypotheses for this process's share of the sources of all windows."""
        if not isinstance(model, Seq2SeqModel):
            raise TypeError(f"{type(model).__name__} can't be decoded: it is no Seq2SeqModel")
        decoding = self.validation.decoding
        width = "beam_size" if isinstance(decoding, BeamConfig) else "n_best"
        halving = _halving(_SEARCHED.format(width))
        search = build_search(decoding, self.segmenters.target)
        found: list[Found] = []
        first = taken = 0  # sources and batches of the windows before
        for window in windows:
            inputs = window.inputs
            batches = plan_inputs(inputs, int(decoding.batch_tokens))
            try:
                of_window = search_inputs(
                    search,
                    model,
                    inputs,
                    specials=self.segmenters.source.specials,
                    batches=batches[(group.rank - taken) % group.world_size :: group.world_size],
                    device=next(model.parameters()).device,
                    halving=halving,
                )
            except FloatingPointError as error:
                raise TrainingError(
                    f"validation: {error}: training has diverged; go on from an earlier "
                    "checkpoint with a lower learning rate"
                ) from error
            found += [
                (first + i, best[0].tokens, best[0].score)
                for i, best in enumerate(of_window)
                if best
            ]
            first, taken = first + len(of_window), taken + len(batches)
        return found

    def _joined(self, windows: Iterable[Window], found: Iterable[Found]) -> list[str]:
        """Translations of the lines of all windows, from what all processes have found."""
        best = iter([Hypothesis(tokens, score)] for _, tokens, score in sorted(found))
        return [line.text for window in windows for line in self._parts.join(window, best)]

    def _validation_losses(self, model: nn.Module, group: ProcessGroup) -> list[float]:
        """Negative log-likelihood of every batch of this process, in nats."""
        halving = _halving(_LONG, never_split=in_parts(model))
        losses, groups = list[Tensor](), self._groups
        own = groups[group.rank :: group.world_size]
        for rows, counts in equal_number_of_calls(model, group, own, spare=groups[-1]):
            found = self._losses_of(rows.tolist(), model, halving)
            losses += found if counts else []
        return torch.stack(losses).tolist() if losses else []

    def measure_longest(self, model: nn.Module) -> None:
        """The loss of the largest batch of validation: to see that it fits, undivided."""
        self._losses_of(self._groups[0].tolist(), model, _halving(_LONG, never_split=True))

    def longest_fits(self, model: nn.Module) -> bool:
        """Whether memory holds the loss of the largest batch of validation, undivided."""
        try:
            self.measure_longest(model)
        except SeqtransError:  # memory ran out
            return False
        return True

    @property
    def _groups(self) -> Plan:
        """Sentences of the validation corpus that are measured at once, the longest first."""
        corpus = self.validation.corpus
        longer = np.maximum(corpus.source_lengths, corpus.target_lengths)
        return plan_by_length(longer, batch_tokens=int(self.validation.decoding.batch_tokens))

    def _losses_of(
        self, sentences: Sequence[int], model: nn.Module, halving: Halving
    ) -> list[Tensor]:
        device = next(model.parameters()).device
        pairs = self.validation.corpus.pairs(sentences)
        batch = collate_pairs(pairs, *(segmenter.specials for segmenter in self.segmenters))

        def measure(batch: TranslationBatch) -> Tensor:
            return self.loss_sums(model, batch.to(device)).shown["nll"]

        return halving(batch, measure, TranslationBatch.halves)

    @property
    def _epochs(self) -> Epochs:
        return Epochs(self.train, self.segmenters, self.batch_tokens, self.seed)


_LONG = "leave out those that are so long"
_SEARCHED = "lower max_source_tokens, max_length or {} of validation.decoding"


def _halving(remedy: str, *, never_split: bool = False) -> Halving:
    smaller = "take a smaller validation.decoding.batch_tokens, or more processes"
    return Halving(
        "validation sentences",
        smaller if never_split else remedy,
        never_split=never_split,
    )
