"""Text as words or as characters, looked up in a vocabulary made of the training text.

Neither holds white space, so decoded text is one line.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge

from seqtrans.data.vocabulary import SPECIALS, Vocabulary, check_target_size
from seqtrans.protocols import Specials
from seqtrans.ranges import Positive

_SPACE = "\u2581"  # how a space looks among characters, as in sentencepiece


@dataclass(frozen=True, kw_only=True)
class WordsConfig:
    """Words separated by spaces: for text that is tokenised already."""

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


def split_words(line: str) -> list[str]:
    """What white space separates."""
    return line.split()


def split_characters(line: str) -> list[str]:
    """Characters, with one visible symbol for white space between words."""
    return list(_SPACE.join(line.split()))


def join_words(words: Sequence[str]) -> str:
    """Undo ``split_words``, one space between words."""
    return " ".join(words)


def join_characters(characters: Sequence[str]) -> str:
    """Undo ``split_characters``."""
    return "".join(characters).replace(_SPACE, " ")


class TokenSegmenter:
    """A ``Segmenter`` that looks tokens up.

    Args:
        vocabulary: The tokens that are known.
        unit: What a token is.
    """

    def __init__(self, vocabulary: Vocabulary, unit: Literal["words", "characters"]) -> None:
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
        return [self._vocabulary.encode(self._split(line)) for line in lines]

    def sample(self, lines: Sequence[str], seed: int) -> list[list[int]]:
        """See ``Segmenter.sample``; a token can't be segmented in another way."""
        del seed
        return self.encode(lines)

    def decode(self, ids: Sequence[int]) -> str:
        """See ``Segmenter.decode``."""
        return self._join(self._vocabulary.decode(ids))

    def to_bytes(self) -> bytes:
        """Content of the vocabulary file."""
        return self._vocabulary.to_bytes()
