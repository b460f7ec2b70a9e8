"""Vocabulary: map tokens to ids and back."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from seqtrans.translation.protocols import Specials

SPECIALS = Specials(pad=0, bos=1, eos=2, unk=3)
"""Special ids of every vocabulary built here."""

SPECIAL_PIECES = ("<pad>", "<s>", "</s>", "<unk>")
"""Pieces of ``SPECIALS``; the same string in text is ordinary text."""

_MOST_COUNTED = 1_000_000  # distinct tokens held while counting


@dataclass(frozen=True)
class Vocabulary:
    """Distinct tokens; ids follow their order, after the special tokens."""

    tokens: tuple[str, ...]

    @cached_property
    def pieces(self) -> tuple[str, ...]:
        """The token of every id, special ones first."""
        return (*SPECIAL_PIECES, *self.tokens)

    @cached_property
    def ids(self) -> dict[str, int]:
        """The id of every token that is text."""
        return {token: i for i, token in enumerate(self.tokens, start=len(SPECIAL_PIECES))}

    def encode(self, tokens: Iterable[str]) -> list[int]:
        """Return the ids of tokens; unknown tokens get that of unk."""
        ids, unk = self.ids, SPECIALS.unk
        return [ids.get(token, unk) for token in tokens]

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Return the tokens of ids, without special ones."""
        return [self.pieces[i] for i in ids if i >= len(SPECIAL_PIECES)]

    def to_bytes(self) -> bytes:
        """Return a JSON list, one token per line."""
        return (json.dumps(self.tokens, ensure_ascii=False, indent=0) + "\n").encode()

    @staticmethod
    def from_bytes(content: bytes) -> "Vocabulary":
        """Undo ``to_bytes``.

        Raises:
            ValueError: The content is invalid.
        """
        try:
            tokens = json.loads(content)
        except RecursionError as error:
            raise ValueError("is nested too deeply") from error
        if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
            raise ValueError("is not a list of tokens")
        if len(set(tokens)) != len(tokens):
            raise ValueError("lists a token twice")
        return Vocabulary(tuple(tokens))


def build_vocabulary(
    lines: Iterable[Sequence[str]], vocab_size: int | None = None, min_count: int = 1
) -> Vocabulary:
    """Build a vocabulary of the most frequent tokens of ``lines``, ties sorted by code points.

    Memory is bounded: whenever there are more than a million distinct tokens, those seen once are
    dropped.

    Args:
        lines: Tokens of each line.
        vocab_size: Most pieces, the special ones included; as many as there are if None.
        min_count: How often a token must occur.
    """
    counts: Counter[str] = Counter()
    for tokens in lines:
        counts.update(tokens)
        if len(counts) > _MOST_COUNTED:
            counts = Counter({token: n for token, n in counts.items() if n > 1})
    frequent = sorted((-n, token) for token, n in counts.items() if n >= min_count)
    most = None if vocab_size is None else vocab_size - len(SPECIAL_PIECES)
    return Vocabulary(tuple(token for _, token in frequent[:most]))


def check_target_size(target_vocab_size: int | None, *, joint: bool) -> None:
    """Refuse a size of the target vocabulary if the vocabulary is shared.

    Raises:
        ValueError: Both are given.
    """
    if joint and target_vocab_size is not None:
        raise ValueError(
            f"target_vocab_size {target_vocab_size} contradicts joint: one vocabulary has one "
            "size; set joint to false, or leave it out"
        )
