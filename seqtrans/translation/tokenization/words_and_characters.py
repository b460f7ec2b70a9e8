"""Segment text into words or characters of a vocabulary.

White space other than a space, such as a no-break space, is a token, so that it can be translated;
if the vocabulary lacks it, it counts as a space. No token is a line end.
"""

import re
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge

from seqtrans.config.types import Positive
from seqtrans.translation.protocols import Specials
from seqtrans.translation.tokenization.vocabulary import SPECIALS, Vocabulary, check_target_size

_SPACE = "\u2581"  # stands for a space among characters, as in sentencepiece
_TYPED = "\ufdd0"  # stands for ``_SPACE`` itself in text
_OTHER_WHITE = frozenset(
    white
    for white in map(chr, range(0x3001))
    if white.isspace() and white != " " and len(f"{white}.".splitlines()) == 1
)
_OTHER_SYMBOLS = _OTHER_WHITE | {_TYPED}
_WORD = re.compile(r"\S+|[^\S ]")
_WHITE_SPACE = re.compile(r"[^\S ]")
_BESIDE_WHITE = re.compile(r" ?([^\S ]) ?")


@dataclass(frozen=True, kw_only=True)
class WordsConfig:
    """Words separated by spaces: for text that is tokenized already."""

    kind: Literal["words"] = "words"
    vocab_size: Annotated[int, Ge(5)] | None = None
    """Most words, the 4 special ones included; all if null."""
    target_vocab_size: Annotated[int, Ge(5)] | None = None
    """Most words of the target language where not ``joint``; ``vocab_size`` if null."""
    min_count: Positive = 1
    """How often a word must occur; rarer ones are unknown."""
    joint: bool = False
    """One vocabulary for both languages."""

    def __post_init__(self) -> None:
        check_target_size(self.target_vocab_size, joint=self.joint)


@dataclass(frozen=True, kw_only=True)
class CharactersConfig:
    """Characters (Unicode code points)."""

    kind: Literal["characters"] = "characters"
    vocab_size: Annotated[int, Ge(5)] | None = None
    """Most characters, the 4 special ones included; all if null."""
    target_vocab_size: Annotated[int, Ge(5)] | None = None
    """Most characters of the target language where not ``joint``; ``vocab_size`` if null."""
    min_count: Positive = 1
    """How often a character must occur; rarer ones are unknown."""
    joint: bool = True
    """One vocabulary for both languages."""

    def __post_init__(self) -> None:
        check_target_size(self.target_vocab_size, joint=self.joint)


def split_words(line: str, known: Container[str] = _OTHER_WHITE) -> list[str]:
    """Split at white space; white space in ``known`` is a token too."""
    if line.isspace():
        return []
    return [token for token in _WORD.findall(line) if token in known or not token.isspace()]


def split_characters(line: str, known: Container[str] = _OTHER_SYMBOLS) -> list[str]:
    """Split into characters; one visible symbol stands for the spaces between words."""
    if line.isspace():
        return []
    if _TYPED in known:
        line = line.replace(_SPACE, _TYPED)
    line = _WHITE_SPACE.sub(lambda white: white[0] if white[0] in known else " ", line)
    return list(_SPACE.join(filter(None, line.split(" "))))


def join_words(words: Sequence[str]) -> str:
    """Undo ``split_words``, with a space between words that no other white space separates."""
    text = " ".join(words)
    return _BESIDE_WHITE.sub(r"\1", text)


def join_characters(characters: Sequence[str]) -> str:
    """Undo ``split_characters``."""
    return "".join(characters).replace(_SPACE, " ").replace(_TYPED, _SPACE)


class TokenSegmenter:
    """A ``Segmenter`` that looks tokens up.

    Args:
        vocabulary: The tokens that are known.
        unit: What a token is.
    """

    def __init__(self, vocabulary: Vocabulary, unit: Literal["words", "characters"]) -> None:
        self.unit = unit
        self._vocabulary = vocabulary
        self._split = split_words if unit == "words" else split_characters
        self._join = join_words if unit == "words" else join_characters

    @property
    def specials(self) -> Specials:
        """See ``Segmenter.specials``."""
        return SPECIALS

    @property
    def pieces(self) -> Sequence[str]:
        """See ``Segmenter.pieces``."""
        return self._vocabulary.pieces

    def encode(self, lines: Sequence[str]) -> list[list[int]]:
        """See ``Segmenter.encode``."""
        known, encode = self._vocabulary.ids, self._vocabulary.encode
        return [encode(self._split(line, known)) for line in lines]

    def sample(self, lines: Sequence[str], seed: int) -> list[list[int]]:
        """See ``Segmenter.sample``; a token can't be segmented in another way."""
        del seed
        return self.encode(lines)

    def decode(self, ids: Sequence[int]) -> str:
        """See ``Segmenter.decode``."""
        return self._join(self._vocabulary.decode(ids))

    def to_bytes(self) -> bytes:
        """Return the content of the vocabulary file."""
        return self._vocabulary.to_bytes()
