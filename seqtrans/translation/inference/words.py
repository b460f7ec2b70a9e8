"""Words of raw text: which tokens belong to which."""

from collections.abc import Sequence

from seqtrans.translation.search.repetition import SPACE


def words_of(texts: Sequence[str]) -> list[int]:
    """Return the number of the word of each token, from 0; words are separated by white space.

    A token of spaces alone belongs to the word after it, or to the last word.

    Args:
        texts: Texts of tokens, with spaces written as in sentencepiece.
    """
    words: list[int] = []
    word, is_between = -1, True
    for text in texts:
        is_between = is_between or text.startswith(SPACE)
        inside = text.strip(SPACE)
        if inside and is_between:
            word, is_between = word + 1, False
        words.append(word + 1 if is_between else word)
        word += inside.count(SPACE)  # a token of several words counts for the first
        is_between = is_between or (bool(inside) and text.endswith(SPACE))
    return [min(number, max(word, 0)) for number in words]


def count_words(texts: Sequence[str]) -> int:
    """Return the number of words of tokens; see ``words_of``."""
    return sum(1 for word in "".join(texts).split(SPACE) if word)
