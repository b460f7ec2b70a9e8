"""Translation as a training task: batches, loss and validation."""

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
from seqtrans.translation.evaluation.metrics import perplexity
from seqtrans.translation.inference.batch_search import plan_inputs, search_inputs
from seqtrans.translation.inference.line_windows import BLOCK_LINES, fixed_windows
from seqtrans.translation.inference.translator import LineParts, Window, window_characters
from seqtrans.translation.models.objective import Objective
from seqtrans.translation.protocols import Hypothesis, Seq2SeqModel
from seqtrans.translation.search.build import build_search
from seqtrans.translation.search.config import BeamConfig, SearchConfig
from seqtrans.translation.tokenization.segmenters import Segmenters

NumberedHypothesis = tuple[int, list[int], float]
"""Number of a source, then the fields of its ``Hypothesis``; in a form that JSON can store."""


class CorpusScorer(Protocol):
    """Computes metrics of translations, such as BLEU."""

    def __call__(self, hypotheses: Sequence[str], references: Sequence[str]) -> Mapping[str, float]:
        """Return metrics by name; a hypothesis and its reference have the same line number."""
        ...


@dataclass(frozen=True)
class Validation:
    """Held-out sentence pairs, and how to validate with them."""

    corpus: EncodedCorpus  # all pairs, none filtered out
    sources: Sequence[Sequence[str]]  # source lines of each file
    references: Sequence[str]  # target lines of all files
    decoding: SearchConfig
    scorer: CorpusScorer | None  # None: measure only loss and perplexity, decode nothing


@dataclass(frozen=True)
class TranslationTask:
    """Minimize smoothed cross-entropy; validate by perplexity and by decoding.

    Args:
        train: Training pairs; with their text if subwords are sampled.
        validation: Validation pairs and settings.
        segmenters: Segmenters of both languages.
        batch_tokens: Maximum positions of either side of a micro-batch, padding included.
        accumulate: Micro-batches per update of all processes together.
        objective: The loss to minimize.
        seed: Seed of the order of batches and of subword sampling.
        both_directions_epochs: How many epochs hold every pair in both directions, at first.
    """

    train: EncodedCorpus
    validation: Validation
    segmenters: Segmenters
    batch_tokens: int
    accumulate: int = 1
    objective: Objective = field(default_factory=Objective)
    seed: int = 1
    both_directions_epochs: int = 0

    @property
    def unit(self) -> str:
        """See ``Task.unit``."""
        return "tokens"

    def updates(
        self, epoch: int, group: ProcessGroup, start: int = 0
    ) -> Iterator[Sequence[TranslationBatch]]:
        """See ``Task.updates`` and ``shared_updates``."""
        return shared_updates(self._epochs.batches(epoch), self.accumulate, group, start)

    def updates_in(self, epochs: int) -> int:
        """See ``Task.updates_in``; an estimate if subwords are sampled."""
        both = min(epochs, self.both_directions_epochs)
        per_epoch = {n: -(-self._epochs.count(n) // self.accumulate) for n in {0, both}}
        return both * per_epoch[0] + (epochs - both) * per_epoch[both]

    def loss_sums(self, model: nn.Module, batch: TranslationBatch) -> LossSums:
        """See ``Task.loss_sums``, and ``Objective`` for what it is."""
        return LossSums(*model(batch, self.objective))

    @property
    def searches(self) -> bool:
        """See ``Task.searches``."""
        return self.validation.scorer is not None

    def validate(self, model: nn.Module, group: ProcessGroup) -> Mapping[str, float]:
        """See ``Task.validate``: ``loss`` and ``perplexity`` per target token, and metrics.

        The loss is without label smoothing. The translations are those of ``Translator`` for each
        file. Each of N processes takes every Nth of the batches that a single process would make,
        so metrics do not depend on N.
        """
        losses = self._validation_losses(model, group)
        windows = self._windows if self.searches else []
        hypotheses = self._search(model, windows, group) if self.searches else []
        gathered = [json.loads(part) for part in group.gather(json.dumps((losses, hypotheses)))]
        targets = int(self.validation.corpus.target_lengths.sum()) + len(self.validation.corpus)
        loss = math.fsum(chain.from_iterable(losses for losses, _ in gathered)) / targets
        metrics = {"loss": loss, "perplexity": perplexity(loss)}
        if self.validation.scorer is not None:
            every = chain.from_iterable(hypotheses for _, hypotheses in gathered)
            translations = self._join(windows, every)
            metrics |= self.validation.scorer(translations, self.validation.references)
        return metrics

    def largest_batch(self) -> TranslationBatch:
        """See ``Task.largest_batch``."""
        return self._largest

    @cached_property
    def _largest(self) -> TranslationBatch:
        return self._epochs.largest()  # if subwords are sampled, of the first block

    def decode(self, model: nn.Module, sentences: Sequence[int]) -> list[str]:
        """Translate lines of the validation corpus and return them in this order.

        Raises:
            TrainingError: The model computes NaN.
        """
        lines = list(chain.from_iterable(self.validation.sources))
        windows = [self._parts.cut([lines[i] for i in sentences])]
        return self._join(windows, self._search(model, windows, SINGLE_PROCESS))

    @cached_property
    def _parts(self) -> LineParts:
        # Of several processes, only the first logs this level.
        return LineParts(self.segmenters, self.validation.decoding, logging.INFO)

    @cached_property
    def _windows(self) -> list[Window]:
        """The windows of source lines that ``seqtrans translate`` makes of each file."""
        characters = window_characters(self.validation.decoding)
        return [
            self._parts.cut(window)
            for lines in self.validation.sources
            for window in fixed_windows(lines, characters, BLOCK_LINES)
        ]

    def _search(
        self, model: nn.Module, windows: Sequence[Window], group: ProcessGroup
    ) -> list[NumberedHypothesis]:
        """Return the best hypothesis of each source in this process's share of the batches."""
        if not isinstance(model, Seq2SeqModel):
            raise TypeError(f"{type(model).__name__} can't be decoded: it is no Seq2SeqModel")
        decoding = self.validation.decoding
        width = "beam_size" if isinstance(decoding, BeamConfig) else "n_best"
        halving = _halving(_SEARCH_HINT.format(width))
        search = build_search(decoding, self.segmenters.target)
        numbered: list[NumberedHypothesis] = []
        sources_before = batches_before = 0  # in previous windows
        for window in windows:
            inputs = window.inputs
            batches = plan_inputs(inputs, int(decoding.batch_tokens))
            first = (group.rank - batches_before) % group.world_size
            try:
                results = search_inputs(
                    search,
                    model,
                    inputs,
                    specials=self.segmenters.source.specials,
                    batches=batches[first :: group.world_size],
                    device=next(model.parameters()).device,
                    halving=halving,
                )
            except FloatingPointError as error:
                raise TrainingError(
                    f"validation: {error}: training has diverged; go on from an earlier "
                    "checkpoint with a lower learning rate"
                ) from error
            numbered += [
                (sources_before + i, hypotheses[0].tokens, hypotheses[0].score)
                for i, hypotheses in enumerate(results)
                if hypotheses
            ]
            sources_before += len(results)
            batches_before += len(batches)
        return numbered

    def _join(
        self, windows: Iterable[Window], hypotheses: Iterable[NumberedHypothesis]
    ) -> list[str]:
        """Return the translation of each line of all windows."""
        best = iter([Hypothesis(tokens, score)] for _, tokens, score in sorted(hypotheses))
        return [line.text for window in windows for line in self._parts.join(window, best)]

    def _validation_losses(self, model: nn.Module, group: ProcessGroup) -> list[float]:
        """Return the negative log-likelihood of each batch of this process, in nats."""
        halving = _halving(_LONG_HINT, never_split=in_parts(model))
        losses, batches = list[Tensor](), self._loss_batches
        share = batches[group.rank :: group.world_size]
        for rows, counts in equal_number_of_calls(model, group, share, spare=batches[-1]):
            batch_losses = self._losses_of(rows.tolist(), model, halving)
            losses += batch_losses if counts else []
        return torch.stack(losses).tolist() if losses else []

    def measure_longest(self, model: nn.Module) -> None:
        """Compute the loss of the largest validation batch without splitting it.

        Raises:
            SeqtransError: Memory runs out.
        """
        batch = self._loss_batches[0].tolist()
        self._losses_of(batch, model, _halving(_LONG_HINT, never_split=True))

    def longest_fits(self, model: nn.Module) -> bool:
        """Return whether memory suffices for ``measure_longest``."""
        try:
            self.measure_longest(model)
        except SeqtransError:
            return False
        return True

    @property
    def _loss_batches(self) -> Plan:
        """Sentences of the validation corpus in batches, those of the longest first."""
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

    @cached_property
    def _epochs(self) -> Epochs:
        settings = self.batch_tokens, self.seed, self.both_directions_epochs
        return Epochs(self.train, self.segmenters, *settings)


_LONG_HINT = "leave out the longest ones"
_SEARCH_HINT = "lower max_source_tokens, max_length or {} of validation.decoding"


def _halving(hint: str, *, never_split: bool = False) -> Halving:
    if never_split:
        hint = "take a smaller validation.decoding.batch_tokens, or more processes"
    return Halving("validation sentences", hint, never_split=never_split)
