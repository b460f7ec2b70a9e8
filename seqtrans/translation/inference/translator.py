"""Text in, text out: one line for every line, whatever it holds."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from seqtrans.errors import CheckpointError
from seqtrans.runtime.device import DeviceName, Precision, place
from seqtrans.runtime.out_of_memory import Halving
from seqtrans.translation.data.batch import Ids
from seqtrans.translation.inference.batch_search import plan_inputs, search_input, search_inputs
from seqtrans.translation.inference.input_checks import given_lines
from seqtrans.translation.inference.line_windows import fixed_windows, windows
from seqtrans.translation.inference.sentence_splitter import join_parts, source_parts
from seqtrans.translation.protocols import Hypothesis, Searcher, SearchInput, Seq2SeqModel
from seqtrans.translation.search.build import build_search
from seqtrans.translation.search.config import BeamConfig, DecodingConfig, SearchConfig
from seqtrans.translation.tokenization.segmenters import Segmenters

_BATCHES_AHEAD = 8  # in a window; more would sort better by length and answer later
_CHARACTERS_A_TOKEN = 3


@dataclass(frozen=True)
class Candidate:
    """One translation of a line.

    Attributes:
        text: Without line ends.
        score: Log-probability / length ** length_penalty, EOS counted; 0 for an empty line.
        tokens: Target pieces, without EOS.
        parts: How many of the tokens are of each part; empty unless the line was long.
    """

    text: str
    score: float
    tokens: tuple[str, ...]
    parts: tuple[int, ...] = ()


@dataclass(frozen=True)
class Translation(Candidate):
    """The best translation of a line, and those that came next, best first."""

    alternatives: tuple[Candidate, ...] = ()


class Translator:
    """A trained model that translates lines of text.

    The result for a line depends on the line alone: not on its neighbours, nor on the batch size
    (beyond the last digits of floating point); a batch that memory can't hold is halved. A blank
    line gives an empty one. A line of more than ``max_source_tokens`` tokens is translated sentence
    by sentence and joined as its script joins them; the first one is warned of.

    Args:
        model: An ``EncoderDecoder`` or another ``Seq2SeqModel``; moved and converted in place.
        segmenters: Text to ids and back, as in training.
        config: How to search.
        device: ``auto`` is a GPU where there is one.
        precision: ``bf16`` is faster on some processors and a little less exact.

    Raises:
        TypeError: ``model`` can't be decoded.
    """

    def __init__(
        self,
        model: nn.Module,
        segmenters: Segmenters,
        config: SearchConfig,
        device: DeviceName = "auto",
        precision: Precision = "fp32",
    ) -> None:
        if not isinstance(model, Seq2SeqModel):
            raise TypeError(f"{type(model).__name__} can't be decoded: it is no Seq2SeqModel")
        self.device = place(model, device, precision)
        self.model = model
        self.segmenters = segmenters
        self.config = config
        self.search: Searcher = build_search(config, segmenters.target)
        width = "beam_size" if isinstance(config, BeamConfig) else "n_best"
        self._halving = Halving("sentences", f"lower max_source_tokens, max_length or {width}")
        self._parts = LineParts(segmenters, config)

    def translate(self, lines: Iterable[str]) -> list[str]:
        """Translations of ``lines``, in their order.

        Args:
            lines: Any iterable of strings; see ``given_lines``.

        Raises:
            TypeError: ``lines`` is one string, not several, or an item is none.
        """
        given = list(given_lines(lines, "translate"))
        return [translation.text for translation in self.translate_window(given)]

    def stream(self, lines: Iterable[str]) -> Iterator[Translation]:
        """Translations of ``lines``, in their order, as they come.

        Another thread reads ``lines``, by a bounded number ahead; what comes slowly is translated
        as soon as it is there. Errors are as ``translate`` raises them, behind the lines before.
        """
        given = given_lines(lines, "stream")
        return self._translated(windows(given, window_characters(self.config)))

    def stream_blocks(self, lines: Iterable[str], block_lines: int) -> Iterator[Translation]:
        """Translations of ``lines``, in their order, where waiting for lines does no harm.

        Each block of ``block_lines`` lines is translated as it would be alone, to the last digit.
        """
        given = given_lines(lines, "stream_blocks")
        characters = window_characters(self.config)
        return self._translated(fixed_windows(given, characters, block_lines))

    def _translated(self, windows: Iterator[list[str]]) -> Iterator[Translation]:
        return (found for window in windows for found in self.translate_window(window))

    def translate_window(self, lines: Sequence[str]) -> list[Translation]:
        """Translations of ``lines``, in their order; all are held at once.

        Raises:
            CheckpointError: The model computes what is not a number.
            SeqtransError: Memory can't hold one sentence.
        """
        window = self._parts.cut(lines)
        return self._parts.join(window, self._search(window.inputs))

    def _search(self, inputs: Sequence[SearchInput]) -> list[list[Hypothesis]]:
        """Hypotheses of every sentence, best first."""
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
    """Characters to translate at once, so that batches of like lengths fill."""
    return _BATCHES_AHEAD * int(config.batch_tokens) * _CHARACTERS_A_TOKEN


@dataclass(frozen=True, eq=False)
class Window:
    """Lines that are translated together.

    Attributes:
        lines: As they came.
        parts: Source ids of the parts of every distinct line: none if it is blank, one unless it
            is long.
    """

    lines: Sequence[str]
    parts: Mapping[str, Sequence[Ids]]

    @property
    def inputs(self) -> list[SearchInput]:
        """All parts, which are what is searched."""
        return [search_input(ids) for of_line in self.parts.values() for ids in of_line]


class LineParts:
    """Cuts lines into what a model can take, and joins the translations of what it cut.

    Whoever translates lines does it by this, so that all find the same.

    Args:
        segmenters: Text to ids and back, as in training.
        config: How to search.
        level: Of the log, at which the first line that is long is told.
    """

    def __init__(
        self, segmenters: Segmenters, config: DecodingConfig, level: int = logging.WARNING
    ) -> None:
        self.segmenters, self.config, self._level = segmenters, config, level
        self._has_warned = False

    def cut(self, lines: Sequence[str]) -> Window:
        """The parts of ``lines``; of equal lines only one has any."""
        distinct = list(dict.fromkeys(lines))
        segmenter, limit = self.segmenters.source, self.config.max_source_tokens
        parts = source_parts(distinct, segmenter, limit, self._warn_of_long)
        return Window(lines, dict(zip(distinct, parts, strict=True)))

    def join(self, window: Window, found: Iterable[list[Hypothesis]]) -> list[Translation]:
        """Translations of the lines of a window, from the hypotheses of its ``inputs``."""
        waiting = iter(found)
        translations = {
            line: self._join([next(waiting) for _ in of_line])
            for line, of_line in window.parts.items()
        }
        return [translations[line] for line in window.lines]

    def _join(self, parts: Sequence[list[Hypothesis]]) -> Translation:
        """The translation of a line from those of its parts; the nth best of each go together.

        Of those that are the same text but for spaces the best counts. A whole may score above the
        first, though each of its parts does not: it is left out, as the first is the best of every
        part.
        """
        if not parts:
            return Translation("", 0.0, ())
        count = max(map(len, parts))
        ranked = [self._candidate([p[min(n, len(p) - 1)] for p in parts]) for n in range(count)]
        best = ranked[0]
        lower = [other for other in ranked if other.score <= best.score and other is not best]
        by_words = {tuple(best.text.split()): best}
        for other in sorted(lower, key=lambda found: -found.score):
            by_words.setdefault(tuple(other.text.split()), other)
        others = list(by_words.values())[1 : self.config.n_best]
        return Translation(**vars(best), alternatives=tuple(others))

    def _candidate(self, parts: Sequence[Hypothesis]) -> Candidate:
        segmenter, penalty = self.segmenters.target, self.config.length_penalty
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
                "a line has %d tokens, more than max_source_tokens (%d): it and others like it "
                "are translated in parts",
                tokens,
                self.config.max_source_tokens,
            )


def _one_line(text: str) -> str:
    """``text`` without anything that some program takes for the end of a line."""
    return " ".join(text.splitlines())
