"""How likely a model finds given translations."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import nn

from seqtrans.data.batch import collate_pairs
from seqtrans.data.batching import plan_by_length
from seqtrans.data.segmentation import Segmenters
from seqtrans.decoding.beam import DecodingConfig
from seqtrans.errors import DataError
from seqtrans.evaluation.metrics import perplexity
from seqtrans.ranges import number
from seqtrans.shapes import Bool, Float, Int, Tensor
from seqtrans.tasks.given import Pair, given_pairs
from seqtrans.tasks.halving import Halving, halves_of
from seqtrans.tasks.placement import DeviceName, place
from seqtrans.training.precision import Precision

_WINDOW = 2_000  # pairs sorted by length at once


@runtime_checkable
class TeacherForced(Protocol):
    """A model that gives the logits of all target tokens at once."""

    def logits(
        self,
        source: Int[Tensor, "B S"],
        source_mask: Bool[Tensor, "B S"],
        target_input: Int[Tensor, "B T"],
    ) -> Float[Tensor, "B T V"]:
        """Logits of every next target token."""
        ...


@dataclass(frozen=True)
class ScoredPair:
    """What a model makes of one pair.

    Attributes:
        log_prob: Natural logarithm of the probability of the target and EOS, given the source.
        score: ``log_prob / length ** length_penalty``, EOS counted, as translations are ranked.
        tokens: Target pieces and, last, EOS; empty if the pair was too long to be scored.
        token_log_probs: Of each of ``tokens``; their sum is ``log_prob``.
    """

    log_prob: float
    score: float
    tokens: tuple[str, ...]
    token_log_probs: tuple[float, ...]


class Scorer:
    """A trained model that judges translations by forced decoding.

    Text is segmented as for training. Search may have reached the same text by other pieces and
    reports their score; give pieces instead of text to score exactly those.

    Args:
        model: An ``EncoderDecoder``; moved and converted in place.
        segmenters: Text to ids and back, as in training.
        config: ``length_penalty``, ``batch_tokens`` and ``max_source_tokens`` count: a pair of
            which a side is longer than eight times that is not scored.
        device: ``auto`` is a GPU where there is one.
        precision: See ``Translator``.

    Raises:
        TypeError: ``model`` has no ``logits``.
    """

    def __init__(
        self,
        model: nn.Module,
        segmenters: Segmenters,
        config: DecodingConfig,
        device: DeviceName = "auto",
        precision: Precision = "fp32",
    ) -> None:
        if not isinstance(model, TeacherForced):
            raise TypeError(f"{type(model).__name__} can't score: it has no logits")
        self.device = place(model, device, precision)
        self.model = model
        self.segmenters = segmenters
        self.config = config
        self._halving = Halving("pairs", "lower max_source_tokens")
        self.max_tokens = 8 * config.max_source_tokens
        self._ids = {piece: i for i, piece in enumerate(segmenters.target.pieces)}

    def stream(self, pairs: Iterable[Pair]) -> Iterator[ScoredPair]:
        """Scores of ``pairs``, in their order; a bounded number is read ahead.

        Args:
            pairs: Any iterable of pairs; see ``given_pairs``.

        Raises:
            DataError: A given piece is not in the vocabulary.
            TypeError: ``pairs`` holds something else.
        """
        return self._scores(given_pairs(pairs, "stream"))

    def score(self, pairs: Iterable[Pair]) -> list[ScoredPair]:
        """Scores of ``pairs``, in their order; see ``stream``."""
        return list(self._scores(given_pairs(pairs, "score")))

    def _scores(self, pairs: Iterator[Pair]) -> Iterator[ScoredPair]:
        while window := list(islice(pairs, _WINDOW)):
            yield from self._score(window)

    @torch.inference_mode()
    def _score(self, pairs: Sequence[Pair]) -> list[ScoredPair]:
        sources = self.segmenters.source.encode([source for source, _ in pairs])
        targets = self._target_ids([target for _, target in pairs])
        longest = [max(len(s), len(t)) for s, t in zip(sources, targets, strict=True)]
        fitting = [i for i, length in enumerate(longest) if length <= self.max_tokens]
        scored = [ScoredPair(math.nan, math.nan, (), ())] * len(pairs)
        lengths = np.array([longest[i] for i in fitting], np.int64)
        for group in plan_by_length(lengths, batch_tokens=number(self.config.batch_tokens)):
            rows = [fitting[i] for i in group.tolist()]
            pairs = [(sources[i], targets[i]) for i in rows]
            log_probs = chain.from_iterable(self._halving(pairs, self._log_probs, halves_of))
            for row, of_row in zip(rows, log_probs, strict=True):
                scored[row] = self._scored(targets[row], of_row)
        return scored

    def _log_probs(self, pairs: Sequence[tuple[list[int], list[int]]]) -> list[list[float]]:
        """Log-probability of every target token and EOS of every pair."""
        specials = self.segmenters.source.specials, self.segmenters.target.specials
        batch = collate_pairs(pairs, *specials).to(self.device)
        assert isinstance(self.model, TeacherForced)  # noqa: S101 - __init__ refuses others
        logits = self.model.logits(batch.source, batch.source_mask, batch.target_input)
        wide = torch.promote_types(logits.dtype, torch.float32)
        wanted = logits.gather(2, batch.target_output[:, :, None])[:, :, 0].to(wide)
        log_probs = (wanted - logits.to(wide).logsumexp(2)).tolist()
        return [row[: len(ids) + 1] for row, (_, ids) in zip(log_probs, pairs, strict=True)]

    def _scored(self, target: Sequence[int], log_probs: Sequence[float]) -> ScoredPair:
        segmenter, total = self.segmenters.target, math.fsum(log_probs)
        tokens = (*(segmenter.pieces[i] for i in target), segmenter.pieces[segmenter.specials.eos])
        score = total / len(tokens) ** self.config.length_penalty
        return ScoredPair(total, score, tokens, tuple(log_probs))

    def _target_ids(self, targets: Sequence[str | Sequence[str]]) -> list[list[int]]:
        encoded = iter(self.segmenters.target.encode([t for t in targets if isinstance(t, str)]))
        return [
            next(encoded) if isinstance(target, str) else [self._id(piece) for piece in target]
            for target in targets
        ]

    def _id(self, piece: str) -> int:
        if piece not in self._ids:
            raise DataError(f"{piece!r} is not a piece of this model's target vocabulary")
        return self._ids[piece]


@dataclass
class Summary:
    """Sums over the pairs of a file."""

    pairs: int = 0
    skipped: int = 0  # too long
    tokens: int = 0  # EOS counted
    log_prob: float = 0.0

    def add(self, pair: ScoredPair) -> None:
        """Count one more pair."""
        self.pairs += 1
        if math.isnan(pair.log_prob):
            self.skipped += 1
            return
        self.tokens += len(pair.tokens)
        self.log_prob += pair.log_prob

    @property
    def perplexity(self) -> float:
        """Per target token, EOS counted; NaN where nothing was scored."""
        return perplexity(-self.log_prob / self.tokens) if self.tokens else math.nan
