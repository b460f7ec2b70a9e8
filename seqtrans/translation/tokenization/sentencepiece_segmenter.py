"""Subwords by sentencepiece (arXiv:1808.06226): train, load, sample, normalize."""

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
    Rule,
    Sampling,
    SubwordConfig,
    UnigramSampling,
)
from seqtrans.translation.tokenization.sampling.bpe_dropout import BpeDropoutSampler
from seqtrans.translation.tokenization.sampling.model_file import (
    SPACE,
    SubwordModel,
    message,
    read_subword_model,
)
from seqtrans.translation.tokenization.sampling.unigram import NBestSampler, UnigramSampler
from seqtrans.translation.tokenization.vocabulary import SPECIAL_PIECES, SPECIALS

T = TypeVar("T")

_LONGEST = 1000  # characters; sentencepiece silently skips lines of more than 4,192 bytes
_THREADS = 4  # fixed, since the pieces depend on it
_SEEDING = threading.Lock()
_LINE_ENDS = str.maketrans("\n\r", "  ")  # byte pieces can spell them, but a line must stay one

# Characters with a meaning for sentencepiece: its space, the tab that ends a word, and a mark whose
# lines it skips. In models that change nothing, "noncharacters" of Unicode replace them.
_RESERVED = {SPACE: "\ufdd0", "\t": "\ufdd1", "\u2585": "\ufdd2"}
_REPLACED = {replacement: text for text, replacement in _RESERVED.items()}

_NORMALIZER, _DENORMALIZER = 3, 5  # fields of a model file
_NAME, _CHARACTERS, *_ABOUT_SPACES = range(1, 6)  # fields of these

Sampler = Callable[[Sequence[str], int], list[list[int]]]
"""Returns ids of lines; a pure function of the lines and a seed."""


class SubwordSegmenter:
    """A sentencepiece model as a ``Segmenter``.

    Args:
        model: Content of a model file.
        sampling: How ``sample`` draws segmentations; None: it encodes.
        pieces: Pieces of the other segmenter of a shared vocabulary.

    Raises:
        ValueError: ``model`` is not a sentencepiece model, has other pieces than ``pieces``, or
            can't be sampled that way.
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
            raise ValueError("is not a sentencepiece model, or truncated") from error
        if not size:
            raise ValueError("is not a sentencepiece model: it has no pieces")
        self._sampler = (
            self._build_sampler(read_subword_model(model), sampling) if sampling else None
        )
        self._specials, added = _specials_of(self._processor)
        of_model = (*self._processor.id_to_piece(list(range(size))), *added)
        self._pieces: Sequence[str] = of_model if pieces is None else pieces
        if tuple(self._pieces) != of_model:
            raise ValueError("has other pieces than the other file of the shared vocabulary")

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
    """Yield lines in parts, and keep an exception, which sentencepiece may hide."""
    try:
        for line in lines:
            for start in range(0, len(line), _LONGEST):
                yield line[start : start + _LONGEST].encode("utf-8", "replace")
    except BaseException as error:
        failures.append(error)
        raise


def _explained(reason: str, config: SubwordConfig) -> RecipeError:
    size = f"vocab_size {config.vocab_size}"
    if match := re.search(r"value <= (\d+)", reason):
        return RecipeError(
            f"{size} is too large for the training text; it can be at most {match.group(1)}"
        )
    if match := re.search(r"smaller than required_chars\. \d+ vs (\d+)", reason):
        return RecipeError(
            f"{size} is too small: there are {match.group(1)} characters and special pieces; "
            "raise it, or lower character_coverage"
        )
    return RecipeError(f"sentencepiece can't be trained: {' '.join(reason.split())}")


def _seeded(work: Callable[[], T], seed: int) -> T:
    """Run ``work`` in a thread where sentencepiece's generator is seeded by ``seed``.

    sentencepiece before 0.2.1 seeds the generator of a thread only at its first use, so each call
    gets a new thread. The seed is global, so calls wait for each other.
    """
    with _SEEDING, ThreadPoolExecutor(max_workers=1) as thread:
        sentencepiece.set_random_generator_seed(seed % 0xFFFF_FFFF)  # all ones mean no seed
        return thread.submit(work).result()


def _specials_of(
    processor: sentencepiece.SentencePieceProcessor,
) -> tuple[Specials, list[str]]:
    """Return ids of a model's special tokens, and the pieces appended for missing ones."""
    ids = [processor.pad_id(), processor.bos_id(), processor.eos_id(), processor.unk_id()]
    added: list[str] = []
    for position, piece in enumerate(SPECIAL_PIECES):
        if ids[position] < 0:
            ids[position] = processor.get_piece_size() + len(added)
            added.append(piece)
    return Specials(*ids), added


def _as_bytes(lines: Sequence[str]) -> list[bytes]:
    """Encode as UTF-8; a lone surrogate becomes a question mark.

    A blank line becomes empty, whatever white space the model distinguishes.
    """
    return [b"" if line.isspace() else line.encode("utf-8", "replace") for line in lines]


def prepared_for(rule: Rule) -> Callable[[str], str]:
    """Return a function that normalizes a line of training text as a model of ``rule`` does."""
    if rule == "identity":
        escapes = str.maketrans(_RESERVED)
        return lambda line: line.translate(escapes)
    normalizer = sentencepiece.SentencePieceNormalizer(
        rule_name=rule, add_dummy_prefix=False, escape_whitespaces=False
    )
    return lambda line: normalizer.normalize(line.encode("utf-8", "replace")).decode()


def with_rule(model: bytes, rule: Rule) -> bytes:
    """Return a model file with another rule of normalization.

    With ``identity`` decoding gives back the encoded text, except spaces at the ends of a line or
    in a row. ``model`` must have been trained with ``identity``, on text that was ``prepared_for``
    its rules.
    """
    # Protocol buffers merge fields that are there twice, and the last value counts.
    if rule != "identity":
        named = sentencepiece.SentencePieceNormalizer(rule_name=rule)
        return model + message(_NORMALIZER, named.serialized_normalizer_spec())
    there, back = _replacing(_RESERVED), _replacing(_REPLACED)
    back += b"".join(bytes([flag << 3, 0]) for flag in _ABOUT_SPACES)
    return model + message(_NORMALIZER, there) + message(_DENORMALIZER, back)


def _replacing(characters: dict[str, str]) -> bytes:
    """Return a normalizer that replaces some characters."""
    sentencepiece.set_min_log_level(2)  # errors, which are also raised
    normalizer = sentencepiece.SentencePieceNormalizer(norm_map=list(characters.items()))
    return message(_NAME, b"identity") + normalizer.serialized_normalizer_spec()
