"""Batches: which sentences share one, and how they are padded."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import overload

import numpy as np
import torch
from jaxtyping import Integer

from seqtrans.runtime.device import copy_to
from seqtrans.tensor_types import Bool, Int, Tensor
from seqtrans.translation.protocols import Ids, SourceBatch, Specials

Lengths = Integer[np.ndarray, " N"]
Indices = Integer[np.ndarray, " B"]

_BLOCK = 1 << 20
"""Pairs sorted at once. More would pad no less, and sorting all of them takes memory."""
_BUCKET = 2
"""Differences of length in tokens that count as the same. Between equal pairs chance decides, so
more makes the batches of two epochs differ more, and pads more (English-German, 205,030 pairs,
8k pieces, 4,096 tokens: 1 pads 1.3 % of both sides and of two pairs in a batch 36 % meet again
in the next epoch; 2 pads 2.2 % and 15 % do)."""


@dataclass(frozen=True)
class TranslationBatch:
    """Sentence pairs, right-padded. ``target_output`` is ``target_input`` one token later.

    Attributes:
        source: What the model reads.
        target_input: BOS and ids; padding holds the target vocabulary's pad id.
        target_output: Ids and EOS, padded alike.
        target_mask: True where ``target_output`` is to be predicted.
        num_targets: Target tokens to predict, EOS included: ``target_mask.sum()`` without a
            device to wait for.
        num_padded: The other positions of the target rectangle.
    """

    source: SourceBatch
    target_input: Int[Tensor, "B T"]
    target_output: Int[Tensor, "B T"]
    target_mask: Bool[Tensor, "B T"]
    num_targets: int
    num_padded: int

    @property
    def size(self) -> int:
        """See ``Batch.size``."""
        return self.source.tokens.numel() + self.target_output.numel()

    def halves(self) -> "tuple[TranslationBatch, ...]":
        """See ``Batch.halves``: the first and the last pairs; on the CPU, where batches are made.

        They stay as wide, so each pair is computed as it would have been.
        """
        middle = (len(self.source) + 1) // 2
        if middle == len(self.source):
            return (self,)
        return self._rows(slice(middle)), self._rows(slice(middle, None))

    def _rows(self, rows: slice) -> "TranslationBatch":
        mask = self.target_mask[rows]
        num_targets = int(mask.sum())
        return TranslationBatch(
            source=self.source.keep(rows),
            target_input=self.target_input[rows],
            target_output=self.target_output[rows],
            target_mask=mask,
            num_targets=num_targets,
            num_padded=mask.numel() - num_targets,
        )

    def to(self, device: torch.device) -> "TranslationBatch":
        """Copy every tensor to ``device``, without waiting for a GPU's queued work."""
        return replace(
            self,
            source=self.source.to(device),
            target_input=copy_to(self.target_input, device),
            target_output=copy_to(self.target_output, device),
            target_mask=copy_to(self.target_mask, device),
        )


def collate_pairs(
    pairs: Sequence[tuple[Ids, Ids]], source: Specials, target: Specials
) -> TranslationBatch:
    """Pad sentence pairs to rectangles and shift the target by one.

    Args:
        pairs: Source and target ids without BOS and EOS; a side may be empty.
        source: Special ids of the source vocabulary.
        target: Special ids of the target vocabulary.

    Raises:
        ValueError: There are no pairs.
    """
    target_output, target_mask = _collate([t for _, t in pairs], target)
    target_input = target_output.roll(1, dims=1)
    target_input[:, 0] = target.bos
    # The roll moved EOS of every sentence but the longest into the row; there it is padding.
    target_input[~target_mask] = target.pad
    num_targets = sum(len(t) for _, t in pairs) + len(pairs)
    return TranslationBatch(
        source=collate_sources([s for s, _ in pairs], source),
        target_input=target_input,
        target_output=target_output,
        target_mask=target_mask,
        num_targets=num_targets,
        num_padded=target_mask.numel() - num_targets,
    )


def collate_sources(sentences: Sequence[Ids], specials: Specials) -> SourceBatch:
    """Append EOS to every sentence and pad to a rectangle.

    Raises:
        ValueError: There are no sentences.
    """
    return SourceBatch(*_collate(sentences, specials))


def _collate(
    sentences: Sequence[Ids], specials: Specials
) -> tuple[Int[Tensor, "B P"], Bool[Tensor, "B P"]]:
    if not sentences:
        raise ValueError("a batch needs at least one sentence, not 0")
    lengths = np.fromiter(map(len, sentences), np.int64, count=len(sentences))
    position = np.arange(lengths.max() + 1)
    padded = np.full((len(lengths), len(position)), specials.pad, np.int64)
    # A boolean mask selects in row order, which is the order of the concatenated sentences.
    padded[position < lengths[:, None]] = np.concatenate(
        [np.asarray(ids, dtype=np.int64) for ids in sentences]
    )
    padded[np.arange(len(lengths)), lengths] = specials.eos
    return torch.from_numpy(padded), torch.from_numpy(position <= lengths[:, None])


@dataclass(frozen=True, eq=False)
class Plan(Sequence[np.ndarray]):
    """Batches, each an array of indices into the corpus. A slice of a plan is a plan."""

    order: Integer[np.ndarray, " N"]
    """Indices of pairs, those of a batch side by side."""
    starts: Integer[np.ndarray, " batches"]
    """Where in ``order`` each batch starts."""
    ends: Integer[np.ndarray, " batches"]
    """Where in ``order`` each batch ends."""

    def __len__(self) -> int:
        return len(self.starts)

    @overload
    def __getitem__(self, index: int) -> Indices: ...

    @overload
    def __getitem__(self, index: slice) -> "Plan": ...

    def __getitem__(self, index: int | slice) -> "Indices | Plan":
        if isinstance(index, slice):
            return Plan(self.order, self.starts[index], self.ends[index])
        return self.order[self.starts[index] : self.ends[index]]


def plan_epoch(
    source_lengths: Lengths, target_lengths: Lengths, *, batch_tokens: int, seed: int, epoch: int
) -> Plan:
    """Every pair once, in batches of similar length in random order.

    No batch has more than ``batch_tokens`` positions on either side, EOS and padding counted,
    except one pair alone that is longer than that. Memory beyond the plan's (4 bytes a pair and
    16 a batch) does not grow with the corpus.

    Args:
        source_lengths: Tokens of every source sentence, without EOS.
        target_lengths: Tokens of every target sentence, without BOS and EOS.
        batch_tokens: Sentences times the longest of either side, at most.
        seed: Seed of the run, not negative.
        epoch: Number of the epoch, not negative.

    Raises:
        ValueError: A number is out of range.
    """
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, epoch))))
    order = np.arange(len(source_lengths), dtype=np.uint32)
    generator.shuffle(order)

    def sort(block: Indices) -> Lengths:
        """Sort a block of the order in place by length and return the lengths."""
        source, target = source_lengths[block], target_lengths[block]
        sorting = np.argsort(_sort_key(source, target), kind="stable")
        block[:] = block[sorting]
        return np.maximum(source, target)[sorting]

    bounds = _cut(order, sort, batch_tokens)
    turn = generator.permutation(len(bounds) - 1)
    return Plan(order, bounds[:-1][turn], bounds[1:][turn])


def plan_by_length(lengths: Lengths, *, batch_tokens: int) -> Plan:
    """Every sentence once, longest batch first: for decoding and validation.

    Sentences of equal length stay in their order. What runs out of memory does so at once.

    Args:
        lengths: Tokens of every sentence, without EOS; of pairs, those of the longer side.
        batch_tokens: Sentences times the longest, EOS counted, at most.

    Raises:
        ValueError: ``batch_tokens`` is not positive.
    """
    order = np.argsort(lengths, kind="stable").astype(np.uint32)
    bounds = _cut(order, lambda block: lengths[block], batch_tokens)
    return Plan(order, bounds[-2::-1], bounds[:0:-1])


def largest_batch(plan: Plan, source_lengths: Lengths, target_lengths: Lengths) -> int:
    """Index of the batch with the most positions on both sides; of several, the longest one.

    Raises:
        ValueError: The plan is empty.
    """

    def size(index: int) -> tuple[int, int]:
        batch = plan[index]
        positions = int(source_lengths[batch].max()) + int(target_lengths[batch].max()) + 2
        return len(batch) * positions, positions

    return max(range(len(plan)), key=size)


def _sort_key(source: Lengths, target: Lengths) -> Lengths:
    """Order in which neighbours need little padding on both sides.

    The longer side decides, then by how much the target is longer: rising and falling by turns,
    so that where one length ends and the next begins the differences are alike.
    """
    longer = np.maximum(source, target).astype(np.int64)
    difference = (target.astype(np.int64) - source) // _BUCKET
    return (longer << 32) + np.where(longer % 2, difference, -difference)


def _cut(
    order: Indices, sort: Callable[[Indices], Lengths], batch_tokens: int
) -> Integer[np.ndarray, " bounds"]:
    """Where in ``order`` batches start, and the end of the last; ``sort`` gives rising lengths."""
    if batch_tokens < 1:
        raise ValueError(f"batch_tokens {batch_tokens} must be positive")
    bounds = [0]
    for first in range(0, len(order), _BLOCK):
        lengths = sort(order[first : first + _BLOCK]).astype(np.int64) + 1
        start = 0
        while start < len(lengths):
            window = lengths[start : start + max(1, batch_tokens // int(lengths[start]))]
            # Lengths rise, so the last of the first n sentences is the longest of them.
            positions = window * np.arange(1, len(window) + 1)
            start += max(1, int(np.searchsorted(positions, batch_tokens, side="right")))
            bounds.append(first + start)
    return np.array(bounds)
