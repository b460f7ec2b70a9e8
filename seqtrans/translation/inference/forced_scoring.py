"""Score given translations by forced decoding."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import nn

from seqtrans.errors import CheckpointError, DataError
from seqtrans.runtime.device import DeviceName, Precision, place
from seqtrans.runtime.out_of_memory import Halving, halves_of
from seqtrans.tensor_types import Float, Int, Tensor
from seqtrans.translation.data.batch import collate_pairs, plan_by_length
from seqtrans.translation.evaluation.metrics import perplexity
from seqtrans.translation.inference.forced_pass import log_probs_of
from seqtrans.translation.inference.input_checks import Pair, Target, given_pairs
from seqtrans.translation.inference.sentence_splitter import Ids, sentences, source_parts
from seqtrans.translation.protocols import SourceBatch
from seqtrans.translation.search.config import DecodingConfig
from seqtrans.translation.tokenization.segmenters import Segmenters

_WINDOW = 2_000  # pairs sorted by length at once


@runtime_checkable
class TeacherForced(Protocol):
    """A model that computes the logits of all target tokens at once."""

    def logits(
        self, source: SourceBatch, target_input: Int[Tensor, "B T"]
    ) -> Float[Tensor, "B T V"]:
        """Return the logits of every next target token."""
        ...


@dataclass(frozen=True)
class ScoredPair:
    """The score of one pair.

    Attributes:
        log_prob: Natural logarithm of the probability of the target and EOS, given the source; NaN
            if the pair is too long to be scored, 0 if both sides are blank.
        score: ``log_prob / length ** length_penalty``, EOS counted, as translations are ranked.
        tokens: Target pieces, and EOS after every part; empty if the pair is too long or blank.
        token_log_probs: Log-probability of each token; their sum is ``log_prob``.
        parts: Number of parts that were scored separately.
        is_unsplit: Whether a source that would be translated in parts was scored as a whole.
    """

    log_prob: float
    score: float
    tokens: tuple[str, ...]
    token_log_probs: tuple[float, ...]
    parts: int = 1
    is_unsplit: bool = False


class Scorer:
    """A trained model that scores translations by forced decoding.

    Text is segmented as for training. A search may have found the same text with other pieces, and
    reports their score; give pieces instead of text to score exactly these. Of a line that was
    translated in parts, give the pieces of every part.

    A source of more than ``max_source_tokens`` is split as for translation if the target is given
    in as many parts, or is text of as many sentences; otherwise the pair is scored as a whole.

    Args:
        model: An ``EncoderDecoder``; moved and converted in place.
        segmenters: Text to ids and back, as in training.
        config: ``length_penalty``, ``batch_tokens`` and ``max_source_tokens`` are used. A pair is
            not scored if a side has more than eight times ``max_source_tokens``.
        device: ``auto`` is a GPU if there is one.
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
        pieces, specials = segmenters.target.pieces, {*segmenters.target.specials}
        order = (*specials, *(i for i in range(len(pieces)) if i not in specials))
        self._ids = {pieces[i]: i for i in order}  # a piece of text can be spelled as a special one

    def stream(self, pairs: Iterable[Pair]) -> Iterator[ScoredPair]:
        """Yield the scores of ``pairs`` in their order; a bounded number is read ahead.

        Args:
            pairs: Any iterable of pairs; see ``given_pairs``.

        Raises:
            DataError: A given piece is not in the vocabulary.
            TypeError: An item is not a pair.
        """
        return self._scores(given_pairs(pairs, "stream"))

    def score(self, pairs: Iterable[Pair]) -> list[ScoredPair]:
        """Return the scores of ``pairs`` in their order; see ``stream``."""
        return list(self._scores(given_pairs(pairs, "score")))

    def _scores(self, pairs: Iterator[Pair]) -> Iterator[ScoredPair]:
        before = 0
        while window := list(islice(pairs, _WINDOW)):
            yield from self._score(window, before)
            before += len(window)

    @torch.inference_mode()
    def _score(self, pairs: Sequence[Pair], before: int) -> list[ScoredPair]:
        """Return the scores of pairs; ``before`` is the number of pairs before them."""
        cuts = self._cut(pairs, before)
        every = [part for cut in cuts for part in cut.parts]
        longest = [max(map(len, part)) for part in every]
        fitting = [i for i, length in enumerate(longest) if length <= self.max_tokens]
        log_probs: list[list[float]] = [[math.nan] for _ in every]
        lengths = np.array([longest[i] for i in fitting], np.int64)
        for group in plan_by_length(lengths, batch_tokens=int(self.config.batch_tokens)):
            rows = [fitting[i] for i in group.tolist()]
            results = self._halving([every[i] for i in rows], self._log_probs, halves_of)
            for row, of_row in zip(rows, chain.from_iterable(results), strict=True):
                log_probs[row] = of_row
        of_parts = iter(log_probs)
        return [self._scored(cut, [next(of_parts) for _ in cut.parts]) for cut in cuts]

    def _cut(self, pairs: Sequence[Pair], before: int) -> list["_Cut"]:
        """Split every pair into the parts in which its source is translated."""
        segmenter, limit = self.segmenters.source, self.config.max_source_tokens
        lines = [source for source, _ in pairs]
        every = source_parts(lines, segmenter, limit)
        every_target = self._target_ids([target for _, target in pairs], every, before)
        cuts: list[_Cut] = []
        for line, sources, targets in zip(lines, every, every_target, strict=True):
            if len(sources) == len(targets) > 1:
                cuts.append(_Cut(list(zip(sources, targets, strict=True))))
                continue
            ids = list(chain.from_iterable(targets))
            if len(sources) > 1:
                cuts.append(_Cut([(segmenter.encode([line])[0], ids)], is_unsplit=True))
            else:
                cuts.append(_Cut([(sources[0] if sources else [], ids)] if sources or ids else []))
        return cuts

    def _target_ids(
        self, targets: Sequence[Target], sources: Sequence[Sequence[Ids]], before: int
    ) -> list[list[Ids]]:
        """Return the ids of every target; of text, by sentence if the source has as many parts.

        Args:
            targets: Targets of a window.
            sources: Parts of their sources.
            before: Number of pairs before the window.
        """
        texts = [
            _texts_of(target, len(parts)) if isinstance(target, str) else []
            for target, parts in zip(targets, sources, strict=True)
        ]
        encoded = iter(self.segmenters.target.encode([text for of in texts for text in of]))
        return [
            [next(encoded) for _ in texts[i]]
            if isinstance(target, str)
            else self._given_ids(target, len(sources[i]), before + i + 1)
            for i, target in enumerate(targets)
        ]

    def _given_ids(
        self, target: Sequence[str] | Sequence[Sequence[str]], parts: int, pair: int
    ) -> list[Ids]:
        """Return the ids of given pieces, by part if there are ``parts`` of them."""
        if not target or isinstance(target[0], str):
            return [[self._id(str(piece), pair) for piece in target]]
        ids = [[self._id(piece, pair) for piece in part] for part in target]
        return ids if len(ids) == parts else [list(chain.from_iterable(ids))]

    def _log_probs(self, pairs: Sequence[tuple[list[int], list[int]]]) -> list[list[float]]:
        """Return the log-probability of every target token and EOS of every pair."""
        specials = self.segmenters.source.specials, self.segmenters.target.specials
        batch = collate_pairs(pairs, *specials).to(self.device)
        assert isinstance(self.model, TeacherForced)  # noqa: S101 - __init__ refuses others
        logits = self.model.logits(batch.source, batch.target_input)
        log_probs = log_probs_of(logits, batch.target_output).tolist()
        rows = [row[: len(ids) + 1] for row, (_, ids) in zip(log_probs, pairs, strict=True)]
        if any(math.isnan(value) for row in rows for value in row):
            raise CheckpointError(
                "can't score: the model's log-probabilities are NaN; take another checkpoint, or "
                "--precision fp32"
            )
        return rows

    def _scored(self, cut: "_Cut", log_probs: Sequence[Sequence[float]]) -> ScoredPair:
        segmenter, every = self.segmenters.target, list(chain.from_iterable(log_probs))
        total = math.fsum(every)
        if math.isnan(total):
            return ScoredPair(total, total, (), ())
        pieces, eos = segmenter.pieces, segmenter.specials.eos
        tokens = tuple(pieces[i] for _, target in cut.parts for i in (*target, eos))
        score = total / len(tokens) ** self.config.length_penalty if tokens else 0.0
        return ScoredPair(total, score, tokens, tuple(every), len(cut.parts), cut.is_unsplit)

    def _id(self, piece: str, pair: int) -> int:
        if piece not in self._ids:
            raise DataError(
                f"pair {pair}: {piece!r} is not a piece of this model's target vocabulary"
            )
        return self._ids[piece]


def _texts_of(target: str, parts: int) -> list[str]:
    """Return the sentences of a target if there are ``parts`` of them, else the whole target."""
    if parts > 1 and len(texts := sentences(target)) == parts:
        return texts
    return [target]


@dataclass(frozen=True)
class _Cut:
    """A pair as parts of source and target ids; no parts if both are blank."""

    parts: Sequence[tuple[list[int], list[int]]]
    is_unsplit: bool = False  # see ``ScoredPair``


@dataclass
class Summary:
    """Sums over the pairs of a file."""

    pairs: int = 0
    skipped: int = 0  # pairs that are too long
    blank: int = 0  # pairs with two blank sides
    in_parts: int = 0
    unsplit: int = 0
    tokens: int = 0  # EOS counted
    log_prob: float = 0.0

    def add(self, pair: ScoredPair) -> None:
        """Add a pair."""
        self.pairs += 1
        if math.isnan(pair.log_prob):
            self.skipped += 1
            return
        self.blank += not pair.tokens
        self.in_parts += pair.parts > 1
        self.unsplit += pair.is_unsplit
        self.tokens += len(pair.tokens)
        self.log_prob += pair.log_prob

    @property
    def perplexity(self) -> float:
        """Perplexity of target tokens and EOS; NaN if nothing was scored."""
        return perplexity(-self.log_prob / self.tokens) if self.tokens else math.nan
