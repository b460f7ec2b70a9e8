"""Subwords by sentencepiece (arXiv:1808.06226): trained, loaded, and drawn at random."""

import io
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import sentencepiece
from annotated_types import Ge

from seqtrans.data.vocabulary import SPECIAL_PIECES, SPECIALS, check_target_size
from seqtrans.errors import DataError, RecipeError
from seqtrans.protocols import Specials
from seqtrans.ranges import Fraction, Positive, PositiveFloat, Probability

T = TypeVar("T")

_LONGEST = 1000  # characters; sentencepiece leaves out lines of more than 4,192 bytes unseen
_THREADS = 4  # the pieces found depend on it, so the number of processors must not decide
_SEEDING = threading.Lock()
_LINE_ENDS = str.maketrans("\n\r", "  ")  # byte pieces can spell them; a line in, a line out


@dataclass(frozen=True, kw_only=True)
class UnigramSampling:
    """Another segmentation at every sight of a sentence (arXiv:1804.10959, 3)."""

    kind: Literal["unigram"] = "unigram"
    alpha: PositiveFloat = 0.1
    """Exponent of a segmentation's probability: near 0 all are as likely, above 1 the best wins."""
    nbest_size: Positive | None = None
    """Draw among this many best segmentations, at least 2; among all if null."""

    def __post_init__(self) -> None:
        if self.nbest_size == 1:
            raise ValueError("nbest_size 1 leaves nothing to draw from; it must be at least 2")


@dataclass(frozen=True, kw_only=True)
class BpeDropout:
    """Leave out merges at random (arXiv:1910.13267, 3)."""

    kind: Literal["bpe_dropout"] = "bpe_dropout"
    probability: Probability = 0.1
    """Share of merges left out."""


Sampling = UnigramSampling | BpeDropout


@dataclass(frozen=True, kw_only=True)
class SubwordConfig:
    """Subwords found in the training text."""

    kind: Literal["sentencepiece"] = "sentencepiece"
    model_type: Literal["unigram", "bpe"] = "unigram"
    """How pieces are found: arXiv:1804.10959 or arXiv:1508.07909."""
    vocab_size: Positive = 8000
    """Pieces, special ones included; of each language unless ``joint``."""
    target_vocab_size: Positive | None = None
    """Pieces of the target language where not ``joint``; ``vocab_size`` if null."""
    joint: bool = True
    """One vocabulary for both languages."""
    byte_fallback: bool = True
    """Spell an unknown character in bytes, so that no text is unknown; takes 256 pieces."""
    user_defined_symbols: tuple[str, ...] = ()
    """Strings that are always one piece."""
    character_coverage: Fraction = 0.9995
    """Share of the text whose characters become pieces, at least 0.98; the rarest do not."""
    normalization: Literal["nmt_nfkc", "nmt_nfkc_cf", "nfkc", "nfkc_cf", "identity"] = "nmt_nfkc"
    """Unicode normalisation of text; ``_cf`` folds case. Spaces in a row are one in any case."""
    input_sentence_size: Annotated[int, Ge(101)] = 100_000
    """Most lines, drawn at random, that pieces are found in: about 1.5 kB of memory each."""
    sampling: Sampling | None = None
    """Draw segmentations of the training text at random; always the best one if null."""

    def __post_init__(self) -> None:
        if self.character_coverage < 0.98:
            raise ValueError(f"character_coverage {self.character_coverage} must be at least 0.98")
        wanted = "unigram" if self.model_type == "unigram" else "bpe_dropout"
        if self.sampling is not None and self.sampling.kind != wanted:
            raise ValueError(
                f"model_type {self.model_type} can't be sampled by {self.sampling.kind}; "
                f"choose {wanted}"
            )
        check_target_size(self.target_vocab_size, joint=self.joint)
        _check_symbols(self.user_defined_symbols)


@dataclass(frozen=True, kw_only=True)
class ExistingSubwordConfig:
    """Subwords of sentencepiece models that exist; special tokens they lack come after theirs."""

    kind: Literal["sentencepiece_model"] = "sentencepiece_model"
    model: Path
    """Model file of both languages, or of the source language."""
    target_model: Path | None = None
    """Model file of the target language; ``model`` if null."""
    sampling: Sampling | None = None
    """Draw segmentations of the training text at random; always the best one if null."""

    @property
    def joint(self) -> bool:
        """Whether both languages have one vocabulary."""
        return self.target_model is None


def _check_symbols(symbols: Sequence[str]) -> None:
    for number, symbol in enumerate(symbols):
        if not symbol or len(symbol.split()) != 1 or symbol != symbol.strip():
            raise ValueError(f"user_defined_symbols: {symbol!r} is empty or holds a space")
        if symbol in SPECIAL_PIECES:
            raise ValueError(f"user_defined_symbols: {symbol!r} is a special token already")
        if symbol in symbols[:number]:
            raise ValueError(f"user_defined_symbols: {symbol!r} is given twice")


class SubwordSegmenter:
    """A sentencepiece model as a ``Segmenter``.

    Args:
        model: Content of a model file.
        sampling: How ``sample`` draws; if None it does not.

    Raises:
        ValueError: ``model`` is no sentencepiece model, or can't be sampled that way.
    """

    def __init__(self, model: bytes, sampling: Sampling | None = None) -> None:
        self._model = model
        self._sampling = sampling
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
            size = self._processor.get_piece_size()
        except RuntimeError as error:
            raise ValueError("is no sentencepiece model, or truncated") from error
        if not size:
            raise ValueError("is no sentencepiece model: it has no pieces")
        if sampling is not None:
            wanted = "unigram" if self._is_unigram() else "bpe_dropout"
            if sampling.kind != wanted:
                raise ValueError(f"can't be sampled by {sampling.kind}; choose {wanted}")
        self._specials, added = _specials_of(self._processor)
        self._pieces = (*self._processor.id_to_piece(list(range(size))), *added)

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
        if self._sampling is None:
            return self.encode(lines)
        match self._sampling:
            case UnigramSampling(alpha=alpha, nbest_size=nbest_size):
                nbest_size = -1 if nbest_size is None else nbest_size
            case BpeDropout(probability=alpha):
                nbest_size = -1

        def draw() -> list[list[int]]:
            return self._processor.encode(
                _as_bytes(lines),
                enable_sampling=True,
                alpha=alpha,
                nbest_size=nbest_size,
                num_threads=1,
            )

        return _seeded(draw, seed)

    def decode(self, ids: Sequence[int]) -> str:
        """See ``Segmenter.decode``."""
        text: str = self._processor.decode([i for i in ids if i not in self._specials])
        return text.translate(_LINE_ENDS)

    def to_bytes(self) -> bytes:
        """Content of the model file."""
        return self._model

    def _is_unigram(self) -> bool:
        try:
            return bool(self._processor.nbest_encode("a", nbest_size=2))
        except RuntimeError:  # sentencepiece before 0.2.1 gives no answer instead
            return False


def train_subwords(lines: Iterable[str], config: SubwordConfig) -> bytes:
    """Content of the model file that sentencepiece makes of ``lines``; the same every time.

    Raises:
        DataError: There is no text.
        RecipeError: The text does not support a vocabulary of this size.
    """
    lines = iter(lines)
    first = next((line for line in lines if line.strip()), None)
    if first is None:
        raise DataError("the training text is blank: there is nothing to make subwords of")
    failures: list[BaseException] = []
    relayed = _relayed(chain([first], lines), failures)
    try:
        model = _seeded(lambda: _trained(relayed, config), seed=1)
    except (RuntimeError, SystemError) as error:
        raise failures[0] if failures else _explained(str(error), config) from error
    if failures:
        raise failures[0]
    return model


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
        normalization_rule_name=config.normalization,
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
    """Lines in parts; sentencepiece hides what is raised in here, or goes on with what it has."""
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
    """Run ``work`` where sentencepiece draws from ``seed``.

    sentencepiece before 0.2.1 seeds the generator of a thread at its first use there, and only
    then; so each call gets a thread of its own. The seed is global: one call waits for the other.
    """
    with _SEEDING, ThreadPoolExecutor(max_workers=1) as thread:
        sentencepiece.set_random_generator_seed(seed % 0xFFFF_FFFF)  # all ones would mean: no seed
        return thread.submit(work).result()


def _specials_of(
    processor: sentencepiece.SentencePieceProcessor,
) -> tuple[Specials, list[str]]:
    """Ids of a model's special tokens, and the pieces that are appended for those it lacks."""
    own = (processor.pad_id(), processor.bos_id(), processor.eos_id(), processor.unk_id())
    ids, added = list(own), list[str]()
    for position, piece in enumerate(SPECIAL_PIECES):
        if ids[position] < 0:
            ids[position] = processor.get_piece_size() + len(added)
            added.append(piece)
    return Specials(*ids), added


def _as_bytes(lines: Sequence[str]) -> list[bytes]:
    """UTF-8; half a surrogate pair, which only a program can pass, becomes a question mark."""
    return [line.encode("utf-8", "replace") for line in lines]
