"""Cut text that is too long for a model where a reader would pause."""

# ruff: noqa: RUF001 - punctuation of many scripts
import re
from collections.abc import Callable, Sequence

Count = Callable[[Sequence[str]], list[int]]
"""Number of tokens of every text."""

_SENTENCE_END = re.compile(r"[.!?…]+[\"'”’»)\]]*\s+|[。！？｡]+[」』”’）]*\s*|[।۔؟]\s*")
_CLAUSE_END = re.compile(r"[,;:–—]\s+|[，；：、،]\s*")
_WORD_END = re.compile(r"\s+")


def split_long(text: str, limit: int, count: Count) -> list[str]:
    """Parts of ``text``, each of at most ``limit`` tokens.

    Every sentence becomes a part, since sentences are what models are trained on. One that is
    still too long is cut after commas and the like, then between words, then anywhere.
    """
    if count([text])[0] <= limit:
        return [text]
    sentences = _cut(text, _SENTENCE_END)
    return [part for sentence in sentences for part in _fit(sentence, limit, count)]


def _fit(
    text: str,
    limit: int,
    count: Count,
    boundaries: tuple[re.Pattern[str], ...] = (_CLAUSE_END, _WORD_END),
) -> list[str]:
    """Parts of a sentence that fit; as few as the strongest boundary that helps allows."""
    if len(text) < 2 or count([text])[0] <= limit:
        return [text]
    if not boundaries:
        middle = len(text) // 2
        halves = (text[:middle], text[middle:])
        return [part for half in halves for part in _fit(half, limit, count, ())]
    parts = _pack(_cut(text, boundaries[0]), limit, count)
    return [fitting for part in parts for fitting in _fit(part, limit, count, boundaries[1:])]


def _cut(text: str, boundary: re.Pattern[str]) -> list[str]:
    """Pieces between boundaries; one before a small letter is none ("approx. five")."""
    ends = [m.end() for m in boundary.finditer(text)]
    if boundary is _SENTENCE_END:
        ends = [end for end in ends if not text[end : end + 1].islower()]
    pieces = (text[a:b].strip() for a, b in zip([0, *ends], [*ends, len(text)], strict=True))
    return [piece for piece in pieces if piece]


def _pack(pieces: Sequence[str], limit: int, count: Count) -> list[str]:
    """Neighbours joined while they fit together."""
    groups: list[list[str]] = []
    room = 0
    for piece, size in zip(pieces, count(pieces), strict=True):
        if groups and size <= room:
            groups[-1].append(piece)
            room -= size
        else:
            groups.append([piece])
            room = limit - size
    joined = [" ".join(group) for group in groups]
    # Joining may cost a token for the space, or change how the pieces are segmented.
    sizes = count(joined)
    return [
        part
        for text, group, size in zip(joined, groups, sizes, strict=True)
        for part in ([text] if size <= limit else group)
    ]
