"""Details of translations: alignment, confidence, attention, doubts.

They come from one pass over source and translation by teacher forcing, after the search, so any
search and any model has them, and they do not depend on the batch.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from seqtrans.runtime.out_of_memory import Halving, halves_of
from seqtrans.translation.data.batch import collate_pairs, plan_by_length
from seqtrans.translation.inference.detail_names import Detail
from seqtrans.translation.inference.forced_pass import forced_pass, log_probs_of
from seqtrans.translation.inference.output_guard import scripts_of, warnings_of
from seqtrans.translation.inference.words import count_words, words_of
from seqtrans.translation.protocols import Hypothesis, Ids
from seqtrans.translation.search.rules import token_texts
from seqtrans.translation.tokenization.segmenters import Segmenters

_DIGITS = 4


class Part(NamedTuple):
    """A line, or a part of a long one, and its translation, as token ids without EOS."""

    source: Ids
    target: Ids


@dataclass(frozen=True, eq=False)
class ReadPart:
    """What the model makes of a part.

    Attributes:
        part: The part.
        log_probs: Log-probability of each target token and EOS.
        attention: Weights of source tokens and EOS (columns) for each target token and EOS (rows).
    """

    part: Part
    log_probs: Float[np.ndarray, " T"]
    attention: Float[np.ndarray, "T S"]


class PartReader:
    """Reads parts and their translations with a model, in batches.

    Args:
        model: A translation model or an ensemble, with or without shortlists; on ``device``.
        segmenters: Its segmenters.
        batch_tokens: Most tokens of either side of a batch, padding included.
        device: Where to compute.
    """

    def __init__(
        self, model: nn.Module, segmenters: Segmenters, batch_tokens: int, device: torch.device
    ) -> None:
        self.model, self.segmenters = model, segmenters
        self.batch_tokens, self.device = batch_tokens, device
        self._halving = Halving("sentences", "lower max_source_tokens or max_length")

    @torch.inference_mode()
    def __call__(self, parts: Sequence[Part]) -> list[ReadPart]:
        """Return what the model makes of every part, in their order."""
        lengths = np.array([max(len(p.source), len(p.target)) for p in parts], np.int64)
        results: dict[int, ReadPart] = {}
        for rows in plan_by_length(lengths, batch_tokens=self.batch_tokens):
            batch = [parts[i] for i in rows.tolist()]
            read = chain.from_iterable(self._halving(batch, self._read, halves_of))
            results.update(zip(rows.tolist(), read, strict=True))
        return [results[i] for i in range(len(parts))]

    def _read(self, parts: Sequence[Part]) -> list[ReadPart]:
        specials = (segmenter.specials for segmenter in self.segmenters)
        batch = collate_pairs(parts, *specials).to(self.device)
        logits, attention = forced_pass(self.model, batch.source, batch.target_input)
        wanted = log_probs_of(logits, batch.target_output)
        read: list[ReadPart] = []
        for part, log_probs, weights in zip(parts, wanted.cpu(), attention.cpu(), strict=True):
            rows, columns = len(part.target) + 1, len(part.source) + 1
            read.append(ReadPart(part, log_probs[:rows].numpy(), weights[:rows, :columns].numpy()))
        return read


class Describer:
    """Says of lines and their translations what a model made of them.

    Args:
        reader: Reads them with the model.
        details: What to say.
    """

    def __init__(self, reader: PartReader, details: Sequence[Detail]) -> None:
        self.segmenters, self.details = reader.segmenters, details
        self._reader = reader
        self._source_texts, self._target_texts = map(token_texts, self.segmenters)
        self._scripts = scripts_of(self.segmenters.target) if "warnings" in details else frozenset()

    def read(
        self, lines: Mapping[str, Sequence[Ids]], found: Iterable[Sequence[Hypothesis]]
    ) -> dict[str, list[ReadPart]]:
        """Return what the model makes of the best translations of lines.

        Args:
            lines: Source ids of the parts of every line.
            found: Hypotheses of these parts, best first.
        """
        sources = chain.from_iterable(lines.values())
        pairs = zip(sources, found, strict=True)
        parts = [Part(source, best.tokens) for source, (best, *_) in pairs]
        needs_model = tuple(self.details) != ("warnings",)
        read = iter(self._reader(parts) if needs_model else map(_unread, parts))
        return {line: [next(read) for _ in parts] for line, parts in lines.items()}

    def __call__(self, line: str, translation: str, parts: Sequence[ReadPart]) -> dict[str, Any]:
        """Return the details of one line, by key, as JSON can have them.

        ``alignment`` and ``word_confidences`` are None if segmentation changes what the words of
        the raw text are.
        """
        described: dict[str, Any] = {}
        for detail in self.details:
            match detail:
                case "alignment":
                    described["alignment"] = self.alignment(line, translation, parts)
                case "confidence":
                    described |= self._confidences(translation, parts)
                case "warnings":
                    both = [sum(len(read.part[side]) for read in parts) for side in (0, 1)]
                    lengths = both[0], both[1]
                    found = warnings_of(line, translation, lengths, self._scripts)
                    described["warnings"] = found
                case "attention":
                    described["attention"] = [self._attention(part) for part in parts]
        return described

    def alignment(self, line: str, translation: str, parts: Sequence[ReadPart]) -> str | None:
        """Return in Pharaoh's format which source word each target word attends to most.

        A link is ``source-target``; words are separated by white space and counted from 0. The
        attention of a word is summed over tokens of the source word and averaged over those of the
        target word; EOS does not count.
        """
        links: list[tuple[int, int]] = []
        sources = targets = 0  # words of the parts before
        for read in parts:
            source = [self._source_texts[i] for i in read.part.source]
            target = [self._target_texts[i] for i in read.part.target]
            if source and target:
                weights = by_words(read.attention[:-1, :-1], words_of(target), words_of(source))
                best = weights.argmax(1).tolist()
                links += [(sources + s, targets + t) for t, s in enumerate(best)]
            sources += count_words(source)
            targets += count_words(target)
        if (sources, targets) != (len(line.split()), len(translation.split())):
            return None
        return " ".join(f"{s}-{t}" for s, t in sorted(links))

    def _confidences(self, translation: str, parts: Sequence[ReadPart]) -> dict[str, Any]:
        """Return the mean probability of a token, and the probability of each word."""
        log_probs = np.concatenate([read.log_probs for read in parts] or [np.zeros(1)])
        words: list[float] = []
        for read in parts:
            texts = [self._target_texts[i] for i in read.part.target]
            sums = np.bincount(words_of(texts), read.log_probs[:-1], count_words(texts))
            words += np.exp(sums).tolist() if texts else []
        fits = len(words) == len(translation.split())
        return {
            "confidence": _rounded(math.exp(log_probs.mean())),
            "word_confidences": [_rounded(p) for p in words] if fits else None,
        }

    def _attention(self, read: ReadPart) -> dict[str, Any]:
        source, target = self.segmenters
        return {
            "source": [source.pieces[i] for i in (*read.part.source, source.specials.eos)],
            "target": [target.pieces[i] for i in (*read.part.target, target.specials.eos)],
            "weights": [[_rounded(w) for w in row] for row in read.attention.tolist()],
        }


def by_words(
    weights: Float[np.ndarray, "T S"], rows: Sequence[int], columns: Sequence[int]
) -> Float[np.ndarray, "T2 S2"]:
    """Return attention between words, given the number of the word of each token."""
    of_row, of_column = np.eye(max(rows) + 1)[list(rows)], np.eye(max(columns) + 1)[list(columns)]
    return (of_row / of_row.sum(0).clip(1)).T @ weights @ of_column


def _unread(part: Part) -> ReadPart:
    return ReadPart(part, np.empty(0), np.empty((0, 0)))


def _rounded(number: float) -> float:
    return float(f"{number:.{_DIGITS}g}")
