"""Subwords by sentencepiece (arXiv:1808.06226): training, loading and sampling."""

import io
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TypeVar

import sentencepiece

from seqtrans.errors import DataError, RecipeError
from seqtrans.translation.protocols import Specials
from seqtrans.translation.tokenization.config import (
    BpeDropout,
    Sampling,
    SubwordConfig,
    UnigramSampling,
)
from seqtrans.translation.tokenization.normalization import prepared_for, with_rule
from seqtrans.translation.tokenization.sampling.bpe_dropout import BpeDropoutSampler
from seqtrans.translation.tokenization.sampling.model_file import SubwordModel, read_subword_model
from seqtrans.translation.tokenization.sampling.unigram import NBestSampler, UnigramSampler
from seqtrans.translation.tokenization.vocabulary import SPECIAL_PIECES, SPECIALS

T = TypeVar("T")

_LONGEST = 1000  # characters; sentencepiece leaves out lines of more than 4,192 bytes unseen
_THREADS = 4  # the pieces found depend on it, so the number of processors must not decide
_SEEDING = threading.Lock()
_LINE_ENDS = str.maketrans("\n\r", "  ")  # byte pieces can spell them; a line in, a line out


Sampler = Callable[[Sequence[str], int], list[list[int]]]
"""Ids of lines: a pure function of the lines and a seed."""


class SubwordSegmenter:
    """A sentencepiece model as a ``Segmenter``.

    Args:
        model: Content of a model file.
        sampling: How ``sample`` draws; if None it does not.
        pieces: Those of another segmenter, where both have one vocabulary.

    Raises:
        ValueError: ``model`` is no sentencepiece model, has other pieces, or can't be sampled that
            way.
    """

    def __init__(
        self,
        model: bytes,
        sampling: Sampling | None = None,
        pieces: Sequence[str] | None = None,
    ) -> None:
        self._model = model
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
            size = self._processor.get_piece_size()
        except RuntimeError as error:
            raise ValueError("is no sentencepiece model, or truncated") from error
        if not size:
            raise ValueError("is no sentencepiece model: it has no pieces")
        self._sampler = (
            self._build_sampler(read_subword_model(model), sampling) if sampling else None
        )
        self._specials, added = _specials_of(self._processor)
        own = (*self._processor.id_to_piece(list(range(size))), *added)
        self._pieces: Sequence[str] = own if pieces is None else pieces
        if tuple(self._pieces) != own:
            raise ValueError("has other pieces than the file beside it, whose vocabulary it shares")

    @property
    def specials(self) -> Specials:
        """See ``Segmenter.specials``."""
        return self._specials

    @property
    def pieces(self) -> Sequence[str]:
        """See ``Segmenter.pieces``."""
        return self._pieces

    def encode(self, lines: Sequence[str]) -> list[list[int]]:
        """See ``Segmenter.encode``."""
        return self._processor.encode(_as_bytes(lines), num_threads=1)

    def sample(self, lines: Sequence[str], seed: int) -> list[list[int]]:
        """See ``Segmenter.sample``."""
        if self._sampler is None:
            return self.encode(lines)
        return self._sampler(lines, seed % (1 << 64))

    def decode(self, ids: Sequence[int]) -> str:
        """See ``Segmenter.decode``."""
        text: str = self._processor.decode([i for i in ids if i not in self._specials])
        return text.translate(_LINE_ENDS)

    def to_bytes(self) -> bytes:
        """Return the content of the model file."""
        return self._model

    def _normalize(self, lines: Sequence[str]) -> list[str]:
        return [line.decode() for line in self._processor.normalize(_as_bytes(lines))]

    def _nbest(self, lines: Sequence[str], size: int) -> list[list[list[int]]]:
        return self._processor.nbest_encode(_as_bytes(lines), nbest_size=size)

    def _build_sampler(self, model: SubwordModel, sampling: Sampling) -> Sampler:
        match sampling, model.model_type:
            case UnigramSampling(alpha=alpha, nbest_size=None), "unigram":
                return UnigramSampler(model, alpha, self._normalize)
            case UnigramSampling(alpha=alpha, nbest_size=int(size)), "unigram":
                return NBestSampler(model, alpha, lambda lines: self._nbest(lines, size))
            case BpeDropout(probability=probability), "bpe":
                return BpeDropoutSampler(model, probability, self._normalize)
            case _, ("unigram" | "bpe") as kind:
                wanted = "unigram" if kind == "unigram" else "bpe_dropout"
                raise ValueError(f"can't be sampled by {sampling.kind}; choose {wanted}")
            case _, kind:
                raise ValueError(f"is a {kind} model, which can't be sampled; set sampling to null")


def train_subwords(lines: Iterable[str], config: SubwordConfig) -> bytes:
    """Train a sentencepiece model and return the content of its file; training is deterministic.

    Args:
        lines: The training text.
        config: Configuration; text is normalized as source text.

    Raises:
        DataError: There is no text.
        RecipeError: The text is too small for a vocabulary of this size.
    """
    lines = iter(lines)
    first = next((line for line in lines if line.strip()), None)
    if first is None:
        raise DataError("the training text is blank: there is nothing to make subwords of")
    rule = config.source_rule
    text: Iterator[str] = chain([first], lines)
    if rule == "identity":
        text = map(prepared_for(rule), text)
    failures: list[BaseException] = []
    relayed = _relayed(text, failures)
    try:
        model = _seeded(lambda: _trained(relayed, config), seed=1)
    except (RuntimeError, SystemError) as error:
        raise failures[0] if failures else _explained(str(error), config) from error
    if failures:
        raise failures[0]
    return with_rule(model, rule) if rule == "identity" else model


def _trained(lines: Iterator[bytes], config: SubwordConfig) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines,
        model_writer=model,
        model_type=config.model_type,
        vocab_size=config.vocab_size,
        byte_fallback=config.byte_fallback,
        user_defined_symbols=list(config.user_defined_symbols),
        character_coverage=config.character_coverage,
        normalization_rule_name=config.source_rule,
        input_sentence_size=config.input_sentence_size,
        shuffle_input_sentence=True,
        num_threads=_THREADS,
        minloglevel=2,  # errors, which are also raised
        pad_id=SPECIALS.pad,
        bos_id=SPECIALS.bos,
        eos_id=SPECIALS.eos,
        unk_id=SPECIALS.unk,
    )
    return model.getvalue()


def _relayed(lines: Iterable[str], failures: list[BaseException]) -> Iterator[bytes]:
    """Yield lines in parts; sentencepiece hides exceptions raised here, or continues after them."""
    try:
        for line in lines:
            for start in range(0, len(line), _LONGEST):
                yield line[start : start + _LONGEST].encode("utf-8", "replace")
    except BaseException as error:
        failures.append(error)
        raise


def _explained(message: str, config: SubwordConfig) -> RecipeError:
    size = f"vocab_size {config.vocab_size}"
    if found := re.search(r"value <= (\d+)", message):
        most = found.group(1)
        return RecipeError(f"{size} is more than the training text holds; it can be at most {most}")
    if found := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
        least = found.group(1)
        return RecipeError(
            f"{size} is too small: the characters and special pieces alone are {least}; "
            "raise it, or lower character_coverage"
        )
    return RecipeError(f"sentencepiece can't be trained: {' '.join(message.split())}")


def _seeded(work: Callable[[], T], seed: int) -> T:
    """Run ``work`` in a thread in which sentencepiece's generator is seeded by ``seed``.

    sentencepiece before 0.2.1 seeds the generator of a thread at its first use there, and only
    then; so each call gets a thread of its own. The seed is global: one call waits for the other.
    """
    with _SEEDING, ThreadPoolExecutor(max_workers=1) as thread:
        sentencepiece.set_random_generator_seed(seed % 0xFFFF_FFFF)  # all ones would mean: no seed
        return thread.submit(work).result()


def _specials_of(
    processor: sentencepiece.SentencePieceProcessor,
) -> tuple[Specials, list[str]]:
    """Return ids of a model's special tokens, and the pieces appended for missing ones."""
    own = (processor.pad_id(), processor.bos_id(), processor.eos_id(), processor.unk_id())
    ids, added = list(own), list[str]()
    for position, piece in enumerate(SPECIAL_PIECES):
        if ids[position] < 0:
            ids[position] = processor.get_piece_size() + len(added)
            added.append(piece)
    return Specials(*ids), added


def _as_bytes(lines: Sequence[str]) -> list[bytes]:
    """Encode as UTF-8; a lone surrogate, which only a program can pass, becomes a question mark.

    A blank line is an empty one, whatever kinds of white space a model tells apart.
    """
    return [b"" if line.isspace() else line.encode("utf-8", "replace") for line in lines]
