"""Translate lines of text: a line out for every line in."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Literal

from torch import nn

from seqtrans.errors import CheckpointError
from seqtrans.runtime.device import DeviceName, Precision, place
from seqtrans.runtime.files.strict_json import as_json
from seqtrans.runtime.out_of_memory import Halving
from seqtrans.translation.data.batch import Ids
from seqtrans.translation.inference.batch_search import plan_inputs, search_input, search_inputs
from seqtrans.translation.inference.detail_names import check_details
from seqtrans.translation.inference.details import Describer, PartReader
from seqtrans.translation.inference.input_checks import given_lines
from seqtrans.translation.inference.line_windows import fixed_windows, windows
from seqtrans.translation.inference.sentence_splitter import join_parts, source_parts
from seqtrans.translation.protocols import Hypothesis, Searcher, SearchInput, Seq2SeqModel
from seqtrans.translation.search.build import build_search
from seqtrans.translation.search.config import BeamConfig, DecodingConfig, SearchConfig
from seqtrans.translation.tokenization.segmenters import Segmenters

Format = Literal["text", "jsonl"]
_BATCHES_AHEAD = 8  # of a window; more have less padding, and answer later
_CHARACTERS_PER_TOKEN = 3


@dataclass(frozen=True)
class Candidate:
    """One translation of a line.

    Attributes:
        text: Text without line ends.
        score: Log-probability / length ** length_penalty, EOS counted; with ``mbr`` the expected
            utility, of several parts the mean by length. 0 for a blank line.
        tokens: Target pieces, without EOS.
        parts: Number of tokens of each part; empty unless the line was split.
    """

    text: str
    score: float
    tokens: tuple[str, ...]
    parts: tuple[int, ...] = ()


@dataclass(frozen=True)
class Translation(Candidate):
    """The best translation of a line, and the next best, best first.

    Attributes:
        alternatives: The next best.
        details: Details that the translator was asked for, by key; see ``Describer``.
    """

    alternatives: tuple[Candidate, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])


def render(translation: Translation, output_format: Format) -> str:
    """Return a line, without its end: the text, or JSON with all that is known.

    If the line was translated in parts, ``parts`` is the number of tokens of each.
    """
    if output_format == "text":
        return translation.text
    fields = _fields(translation)
    fields["alternatives"] = [_fields(other) for other in translation.alternatives]
    return as_json(fields | dict(translation.details))


def _fields(candidate: Candidate) -> dict[str, object]:
    fields: dict[str, object] = {
        "translation": candidate.text,
        "score": candidate.score,
        "tokens": list(candidate.tokens),
    }
    return fields | ({"parts": list(candidate.parts)} if candidate.parts else {})


class Translator:
    """A trained model that translates lines of text.

    The translation of a line depends on the line alone, not on its batch (beyond the last digits
    of floating point). A batch that does not fit into memory is halved. A blank line gives an empty
    one. A line of more than ``max_source_tokens`` tokens is translated sentence by sentence, and a
    warning tells of the first one.

    Args:
        model: An ``EncoderDecoder`` or another ``Seq2SeqModel``; moved and converted in place.
        segmenters: Text to ids and back, as in training.
        config: How to search.
        device: ``auto`` is a GPU if there is one.
        precision: ``bf16`` is faster on some processors, and less exact.
        details: What to say of translations besides; each needs one more pass of the model.

    Raises:
        SeqtransError: There is no such detail.
        TypeError: ``model`` can't be decoded.
    """

    def __init__(
        self,
        model: nn.Module,
        segmenters: Segmenters,
        config: SearchConfig,
        device: DeviceName = "auto",
        precision: Precision = "fp32",
        details: Sequence[str] = (),
    ) -> None:
        if not isinstance(model, Seq2SeqModel):
            raise TypeError(f"{type(model).__name__} can't be decoded: it is not a Seq2SeqModel")
        self.device = place(model, device, precision)
        self.model = model
        self.segmenters = segmenters
        self.config = config
        self.search: Searcher = build_search(config, segmenters.target)
        width = "beam_size" if isinstance(config, BeamConfig) else "n_best"
        self._halving = Halving("sentences", f"lower max_source_tokens, max_length or {width}")
        self.parts = LineParts(segmenters, config)
        reader = PartReader(model, segmenters, int(config.batch_tokens), self.device)
        self._describer = Describer(reader, check_details(details)) if details else None

    def translate(self, lines: Iterable[str]) -> list[str]:
        """Return translations of ``lines`` in their order.

        Args:
            lines: Any iterable of strings; see ``given_lines``.

        Raises:
            TypeError: ``lines`` is one string, or an item is not a string.
        """
        given = list(given_lines(lines, "translate"))
        return [translation.text for translation in self.translate_window(given)]

    def stream(self, lines: Iterable[str]) -> Iterator[Translation]:
        """Yield translations of ``lines`` in their order, as the lines come.

        A thread reads a bounded number of lines ahead. Errors are those of ``translate``, raised
        after the translations of the lines before.
        """
        given = given_lines(lines, "stream")
        return self._translated(windows(given, window_characters(self.config)))

    def stream_blocks(self, lines: Iterable[str], block_lines: int) -> Iterator[Translation]:
        """Yield translations of ``lines`` in their order, by windows that do not depend on time.

        Each block of ``block_lines`` lines is translated as it would be alone, to the last digit.
        """
        given = given_lines(lines, "stream_blocks")
        characters = window_characters(self.config)
        return self._translated(fixed_windows(given, characters, block_lines))

    def _translated(self, windows: Iterator[list[str]]) -> Iterator[Translation]:
        return chain.from_iterable(map(self.translate_window, windows))

    def translate_window(self, lines: Sequence[str]) -> list[Translation]:
        """Return translations of ``lines`` in their order; all are in memory at once.

        Raises:
            CheckpointError: The model computes NaN.
            SeqtransError: One sentence alone does not fit into memory.
        """
        window = self.parts.cut(lines)
        found = self.hypotheses(window.inputs)
        translations = self.parts.join(window, found)
        if self._describer is None:
            return translations
        read = self._describer.read(window.parts, found)
        return [
            replace(translation, details=self._describer(line, translation.text, read[line]))
            for line, translation in zip(lines, translations, strict=True)
        ]

    def hypotheses(self, inputs: Sequence[SearchInput]) -> list[list[Hypothesis]]:
        """Return hypotheses of the parts of lines, as the search orders them.

        Raises:
            CheckpointError: See ``translate_window``.
        """
        try:
            return search_inputs(
                self.search,
                self.model,
                inputs,
                specials=self.segmenters.source.specials,
                batches=plan_inputs(inputs, int(self.config.batch_tokens)),
                device=self.device,
                halving=self._halving,
            )
        except FloatingPointError as error:
            raise CheckpointError(
                f"can't translate: {error}; take another checkpoint, or --precision fp32"
            ) from error


def window_characters(config: DecodingConfig) -> int:
    """Return the characters of a window, which are enough for batches of similar length."""
    return _BATCHES_AHEAD * int(config.batch_tokens) * _CHARACTERS_PER_TOKEN


@dataclass(frozen=True, eq=False)
class Window:
    """Lines that are translated together.

    Attributes:
        lines: The lines, repeated ones too.
        parts: Source ids of the parts of every distinct line; see ``source_parts``.
    """

    lines: Sequence[str]
    parts: Mapping[str, Sequence[Ids]]

    @property
    def inputs(self) -> list[SearchInput]:
        """All parts, as inputs of a search."""
        return [search_input(ids) for of_line in self.parts.values() for ids in of_line]


class LineParts:
    """Splits lines into parts that a model can translate, and joins the translations.

    Translation and validation both use it, so that they give the same.

    Args:
        segmenters: Text to ids and back, as in training.
        config: How to search.
        level: Log level of the message about the first line that is split.
    """

    def __init__(
        self, segmenters: Segmenters, config: DecodingConfig, level: int = logging.WARNING
    ) -> None:
        self.segmenters, self.config, self._level = segmenters, config, level
        self._has_warned = False

    def cut(self, lines: Sequence[str]) -> Window:
        """Split ``lines``; equal ones once."""
        distinct = list(dict.fromkeys(lines))
        segmenter, limit = self.segmenters.source, self.config.max_source_tokens
        parts = source_parts(distinct, segmenter, limit, self._warn_of_long)
        return Window(lines, dict(zip(distinct, parts, strict=True)))

    def join(self, window: Window, results: Iterable[list[Hypothesis]]) -> list[Translation]:
        """Return translations of the lines of a window, from the hypotheses of its ``inputs``."""
        results = iter(results)
        translations = {
            line: self._join([next(results) for _ in of_line])
            for line, of_line in window.parts.items()
        }
        return [translations[line] for line in window.lines]

    def _join(self, parts: Sequence[list[Hypothesis]]) -> Translation:
        """Join the translations of the parts of a line: the nth best of each part.

        Of texts that differ in spaces only, the best is kept. With a length penalty a joined text
        may score above the first, which has the best of every part; it is left out.
        """
        if not parts:
            return Translation("", 0.0, ())
        count = max(map(len, parts))
        ranked = [self._candidate([p[min(n, len(p) - 1)] for p in parts]) for n in range(count)]
        best = ranked[0]
        lower = [other for other in ranked if other.score <= best.score and other is not best]
        by_words = {tuple(best.text.split()): best}
        for other in sorted(lower, key=lambda candidate: -candidate.score):
            by_words.setdefault(tuple(other.text.split()), other)
        others = list(by_words.values())[1 : self.config.n_best]
        return Translation(**vars(best), alternatives=tuple(others))

    def _candidate(self, parts: Sequence[Hypothesis]) -> Candidate:
        segmenter = self.segmenters.target
        penalty = 1.0 if self.config.mbr else self.config.length_penalty
        texts = (segmenter.decode(part.tokens) for part in parts)
        lengths = [len(part.tokens) + 1 for part in parts]
        log_probs = (p.score * n**penalty for p, n in zip(parts, lengths, strict=True))
        score = sum(log_probs) / sum(lengths) ** penalty if len(parts) > 1 else parts[0].score
        tokens = tuple(segmenter.pieces[i] for part in parts for i in part.tokens)
        counts = tuple(len(part.tokens) for part in parts) if len(parts) > 1 else ()
        return Candidate(join_parts(map(_one_line, texts)), score, tokens, counts)

    def _warn_of_long(self, tokens: int) -> None:
        if not self._has_warned:
            self._has_warned = True
            logging.getLogger(__name__).log(
                self._level,
                "a line has %d tokens, more than max_source_tokens (%d): such lines are translated "
                "in parts",
                tokens,
                self.config.max_source_tokens,
            )


def _one_line(text: str) -> str:
    """Replace all kinds of line ends by spaces."""
    return " ".join(text.splitlines())
