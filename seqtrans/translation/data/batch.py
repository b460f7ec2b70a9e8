"""Batches: what a task reads from data and a model reads from a task."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from seqtrans.runtime.device import copy_to
from seqtrans.tensor_types import Bool, Int, Tensor
from seqtrans.translation.protocols import Ids, SourceBatch, Specials


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
