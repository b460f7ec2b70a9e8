"""Cut text that is too long for a model where a reader would pause."""

# ruff: noqa: RUF001 - punctuation of many scripts
import re
from collections.abc import Callable, Sequence

from seqtrans.protocols import Segmenter

Ids = list[int]
Count = Callable[[Sequence[str]], list[int]]
"""Number of tokens of every text."""

_SENTENCE_END = re.compile(r"[.!?…]+[\"'”’»)\]]*\s+|[。！？｡]+[」』”’）]*\s*|[।۔؟]\s*")
_CLAUSE_END = re.compile(r"[,;:–—]\s+|[，；：、،]\s*")
_WORD_END = re.compile(r"\s+")


def source_parts(
    lines: Sequence[str],
    segmenter: Segmenter,
    limit: int,
    on_long: Callable[[int], None] | None = None,
) -> list[list[Ids]]:
    """Ids of the parts of every line that are translated: none if it is blank, one unless long.

    Args:
        lines: Source text.
        segmenter: Of the source language.
        limit: Most tokens of a part.
        on_long: Is told how many tokens a longer line has.
    """
    parts: list[list[Ids]] = []
    for line, ids in zip(lines, segmenter.encode(lines), strict=True):
        if len(ids) <= limit:
            parts.append([ids] if ids and not line.isspace() else [])
            continue
        if on_long:
            on_long(len(ids))
        texts = split_long(line, limit, lambda texts: [len(x) for x in segmenter.encode(texts)])
        # A single character can't be cut, though it may stand for many.
        parts.append([ids[:limit] for ids in segmenter.encode(texts) if ids])
    return parts


def sentences(text: str) -> list[str]:
    """The sentences of ``text``, as ``split_long`` makes parts of them."""
    return _cut(text, _SENTENCE_END)


def split_long(text: str, limit: int, count: Count) -> list[str]:
    """Parts of ``text``, each of at most ``limit`` tokens.

    Every sentence becomes a part, since sentences are what models are trained on. One that is
    still too long is cut after commas and the like, then between words, then anywhere.
    """
    if count([text])[0] <= limit:
        return [text]
    return [part for sentence in sentences(text) for part in _fit(sentence, limit, count)]


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
