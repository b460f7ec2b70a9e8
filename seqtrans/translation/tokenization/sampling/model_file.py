"""Read from a sentencepiece model file what sampling needs."""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

SPACE = "\u2581"
"""What sentencepiece writes for a space, and before the first word of a line."""

_MODEL_TYPES = {1: "unigram", 2: "bpe", 3: "word", 4: "char"}


class PieceType(IntEnum):
    """Kinds of pieces, numbered as in the file."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


class Piece(NamedTuple):
    """One entry of the vocabulary."""

    text: str
    score: float  # log-probability (unigram), or minus the rank of its merge (BPE)
    type: PieceType


@dataclass(frozen=True)
class SubwordModel:
    """Pieces by id, and the type of the model."""

    pieces: Sequence[Piece]
    model_type: str  # unigram, bpe, word or char

    @property
    def matched(self) -> Mapping[str, int]:
        """Ids of the pieces that match text, by that text."""
        wanted = (PieceType.NORMAL, PieceType.USER_DEFINED)
        return {piece.text: i for i, piece in enumerate(self.pieces) if piece.type in wanted}

    def is_defined(self, piece: int) -> bool:
        """Return whether a piece is a user-defined symbol."""
        return self.pieces[piece].type == PieceType.USER_DEFINED

    @property
    def byte_ids(self) -> Sequence[int] | None:
        """Id of every byte; None unless unknown characters are spelled in bytes."""
        ids = [i for i, piece in enumerate(self.pieces) if piece.type == PieceType.BYTE]
        by_name = {self.pieces[i].text: i for i in ids}
        return [by_name[f"<0x{byte:02X}>"] for byte in range(256)] if len(ids) == 256 else None

    @property
    def unknown_id(self) -> int:
        """Id of the unknown token; every model has one."""
        return next(i for i, piece in enumerate(self.pieces) if piece.type == PieceType.UNKNOWN)

    @property
    def cuts_words(self) -> bool:
        """Whether no piece extends over several words."""
        return not any(SPACE in text[1:] for text in self.matched)


def read_subword_model(content: bytes) -> SubwordModel:
    """Read a model file (protocol buffers).

    Raises:
        ValueError: ``content`` is something else.
    """
    try:
        return _model_of(content)
    except (struct.error, LookupError) as error:
        raise ValueError("is not a sentencepiece model, or damaged") from error


def _model_of(content: bytes) -> SubwordModel:
    pieces: list[Piece] = []
    model_type = 1
    for number, value in _fields(content):
        if number == 1:
            entry = dict(_fields(_bytes(value)))
            (score,) = struct.unpack("<f", _bytes(entry.get(2, bytes(4))))
            kind = PieceType(_number(entry.get(3, PieceType.NORMAL)))
            pieces.append(Piece(_bytes(entry[1]).decode(), score, kind))
        elif number == 2:
            model_type = _number(dict(_fields(_bytes(value))).get(3, model_type))
    return SubwordModel(pieces, _MODEL_TYPES[model_type])


def message(field: int, content: bytes) -> bytes:
    """Return ``content``, text or a message, as a field of another message."""
    size, coded = len(content), bytearray()
    while size > 0x7F:
        coded.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([field << 3 | 2, *coded, size]) + content


def _fields(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield number and value of the fields of a message; nested messages as bytes."""
    position = 0
    while position < len(content):
        key, position = _varint(content, position)
        match key & 7:
            case 0:
                value, position = _varint(content, position)
            case 1 | 2 | 5 as wire:
                size = {1: 8, 5: 4}.get(wire, 0)
                if wire == 2:
                    size, position = _varint(content, position)
                value = content[position : position + size]
                position += size
            case wire:
                raise ValueError(f"protocol buffers have no wire type {wire}")
        yield key >> 3, value


def _varint(content: bytes, position: int) -> tuple[int, int]:
    """Read a number in groups of 7 bits, the lowest first; return it and the next position."""
    value = shift = 0
    while position < len(content):
        byte = content[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
    raise ValueError("the file ends within a number")


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number stands where text or a message should")
    return value


def _number(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise ValueError("text stands where a number should")
    return value
