"""Segmenters of both languages, from text to token ids: train, store, load."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, assert_never, runtime_checkable

from seqtrans.config import dump, loads
from seqtrans.errors import CheckpointError, DataError, RecipeError
from seqtrans.runtime.files.atomic_files import write_atomically
from seqtrans.translation.protocols import Segmenter
from seqtrans.translation.tokenization.config import ExistingSubwordConfig, Sampling, SubwordConfig
from seqtrans.translation.tokenization.sentencepiece_segmenter import (
    SubwordSegmenter,
    prepared_for,
    train_subwords,
    with_rule,
)
from seqtrans.translation.tokenization.vocabulary import Vocabulary, build_vocabulary
from seqtrans.translation.tokenization.words_and_characters import (
    CharactersConfig,
    TokenSegmenter,
    WordsConfig,
    split_characters,
    split_words,
)

SegmentationConfig = SubwordConfig | ExistingSubwordConfig | WordsConfig | CharactersConfig
PairsFactory = Callable[[], Iterator[tuple[str, str]]]

_INDEX = "segmentation.yaml"


@runtime_checkable
class StoredSegmenter(Segmenter, Protocol):
    """A segmenter that can be stored."""

    def to_bytes(self) -> bytes:
        """Return the content of the segmenter's file."""
        ...


class Segmenters(NamedTuple):
    """Segmenters of both languages; with a shared vocabulary they have the same pieces."""

    source: StoredSegmenter
    target: StoredSegmenter

    @property
    def is_joint(self) -> bool:
        """Return whether an id means the same token in both languages."""
        return self.source.pieces is self.target.pieces


@dataclass(frozen=True, kw_only=True)
class _File:
    name: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class _Index:
    """Content of ``segmentation.yaml``."""

    format: Literal[1] = 1
    segmentation: SegmentationConfig
    files: tuple[_File, ...]


def train_segmenters(
    config: SegmentationConfig, pairs_factory: PairsFactory, folder: Path
) -> Segmenters:
    """Train segmenters on the training text, and write them into ``folder``.

    Args:
        config: Kind of segmentation.
        pairs_factory: Returns the source and target sentences of the training text from the start;
            called once per vocabulary.
        folder: Created if needed; ``load_segmenters`` reads it.

    Raises:
        DataError: The text or an existing model can't be read, or there is no text.
        RecipeError: The text is too small for the requested vocabulary.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ending = "model" if isinstance(config, SubwordConfig | ExistingSubwordConfig) else "json"
    files: list[_File] = []
    for side, content in _contents(config, pairs_factory):
        write_atomically(folder / f"{side}.{ending}", content)
        files.append(_File(name=f"{side}.{ending}", sha256=_sha256(content)))
    index = _Index(segmentation=config, files=tuple(files))
    write_atomically(folder / _INDEX, dump(index))
    return load_segmenters(folder)


def load_segmenters(folder: Path, config: SegmentationConfig | None = None) -> Segmenters:
    """Read what ``train_segmenters`` wrote.

    Args:
        folder: Folder that was written.
        config: Configuration of sampling; None: that of training.

    Raises:
        CheckpointError: A file is missing or truncated, belongs to something else, or can't be
            sampled that way.
    """
    path = folder / _INDEX
    try:
        index = loads(_Index, _read(path).decode(), str(path))
    except (RecipeError, UnicodeDecodeError) as error:
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"{path}: does not describe a vocabulary: {reason}") from error
    sampling = sampling_of(config or index.segmentation)
    is_joint, count = index.segmentation.joint, len(index.files)
    if count not in ((1, 2) if is_joint else (2,)):
        raise CheckpointError(f"{path}: damaged: names {count} vocabulary files")
    target = _load(index.segmentation, folder, index.files[-1], sampling)
    if count == 1:
        return Segmenters(target, target)
    like = target if is_joint else None
    return Segmenters(_load(index.segmentation, folder, index.files[0], sampling, like), target)


def sampling_of(config: SegmentationConfig) -> Sampling | None:
    """Return how segmentations of training text are sampled; None without sampling."""
    return config.sampling if isinstance(config, SubwordConfig | ExistingSubwordConfig) else None


def fingerprint(segmenters: Segmenters) -> str:
    """Return a hexadecimal digest that changes if ``encode`` changes."""
    parts = [f"{type(s).__name__} {_sha256(s.to_bytes())}" for s in segmenters]
    return _sha256("\n".join(parts).encode())


def _sides(config: SegmentationConfig) -> tuple[str, ...]:
    return ("joint",) if config.joint else ("source", "target")


def _contents(
    config: SegmentationConfig, pairs_factory: PairsFactory
) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of every vocabulary file, that of the source first."""
    if isinstance(config, SubwordConfig) and config.joint and not config.has_one_rule:
        yield from _one_of_two_rules(config, pairs_factory)
        return
    for side in _sides(config):
        yield side, _train(config, pairs_factory, side)


def _one_of_two_rules(
    config: SubwordConfig, pairs_factory: PairsFactory
) -> Iterator[tuple[str, bytes]]:
    """Yield files of a shared vocabulary with two normalizations; ``joint`` is the target's."""
    source, target = prepared_for(config.source_rule), prepared_for(config.target_rule)

    def pairs() -> Iterator[tuple[str, str]]:
        return ((source(one), target(other)) for one, other in pairs_factory())

    as_is = replace(config, normalization="identity", target_normalization=None)
    model = _train(as_is, pairs, "joint")
    yield "source", with_rule(model, config.source_rule)
    yield "joint", with_rule(model, config.target_rule)


def _train(config: SegmentationConfig, pairs_factory: PairsFactory, side: str) -> bytes:
    """Return the content of the vocabulary file of ``side``."""
    if side == "target":
        config = _of_target(config)
    match config:
        case SubwordConfig():
            try:
                return train_subwords(_lines(pairs_factory, side), config)
            except RecipeError as error:
                raise RecipeError(f"{side} vocabulary: {error}") from error
        case ExistingSubwordConfig():
            return _existing(config, side)
        case WordsConfig() | CharactersConfig():
            split = split_words if isinstance(config, WordsConfig) else split_characters
            tokens = map(split, _lines(pairs_factory, side))
            vocabulary = build_vocabulary(tokens, config.vocab_size, config.min_count)
            if not vocabulary.tokens:
                raise DataError(
                    f"no token is {config.min_count} times in the training text, so the vocabulary "
                    "would be empty: lower min_count"
                )
            return vocabulary.to_bytes()
        case _:
            assert_never(config)


def _of_target(config: SegmentationConfig) -> SegmentationConfig:
    """Return ``config`` with the settings of a separate target vocabulary."""
    if isinstance(config, SubwordConfig):
        config = replace(config, normalization=config.target_rule)
    if isinstance(config, ExistingSubwordConfig) or config.target_vocab_size is None:
        return config
    return replace(config, vocab_size=config.target_vocab_size)


def _lines(pairs_factory: PairsFactory, side: str) -> Iterator[str]:
    if side == "joint":
        return chain.from_iterable(pairs_factory())
    column = 0 if side == "source" else 1
    return (pair[column] for pair in pairs_factory())


def _existing(config: ExistingSubwordConfig, side: str) -> bytes:
    path = config.target_model if side == "target" and config.target_model else config.model
    try:
        content = path.read_bytes()
        SubwordSegmenter(content, config.sampling)
    except OSError as error:
        raise DataError(f"{path}: can't read this sentencepiece model: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
    return content


def _load(
    config: SegmentationConfig,
    folder: Path,
    file: _File,
    sampling: Sampling | None,
    like: StoredSegmenter | None = None,
) -> StoredSegmenter:
    content = _read(folder / file.name)
    if _sha256(content) != file.sha256:
        raise CheckpointError(
            f"{folder / file.name}: is truncated, or not the file that belongs to {folder / _INDEX}"
        )
    try:
        match config:
            case SubwordConfig() | ExistingSubwordConfig():
                pieces = like.pieces if like else None
                return SubwordSegmenter(content, sampling, pieces)
            case WordsConfig() | CharactersConfig():
                return TokenSegmenter(Vocabulary.from_bytes(content), config.kind)
            case _:
                assert_never(config)
    except ValueError as error:
        raise CheckpointError(f"{folder / file.name}: {error}") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file; is this the folder of a run?") from error
    except OSError as error:
        raise CheckpointError(f"{path}: can't be read: {error.strerror}") from error


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
