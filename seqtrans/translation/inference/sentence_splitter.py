"""Split text that is too long for a model where a reader would pause; join the translations."""

# ruff: noqa: RUF001 - punctuation of many scripts
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence

from seqtrans.translation.protocols import Segmenter

Ids = list[int]
Count = Callable[[Sequence[str]], list[int]]
"""Returns the number of tokens of each text."""

_UNSPACED = r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"  # letters of Japanese and Chinese
_CLOSING = r"""["'”’»)\]」』】》〉）］]*"""
_SENTENCE_END = re.compile(
    rf"[.!?…]+{_CLOSING}\s+|[!?]+{_CLOSING}(?=[{_UNSPACED}])"
    rf"|(?:[。！？｡।॥۔؟።။។།]|．(?!\d))+{_CLOSING}\s*"
)
_CLAUSE_END = re.compile(r"[,;:–—]\s+|[，；：、､،؛]\s*")
_WORD_END = re.compile(r"\s+")
_JOINER = "\u200d"


def source_parts(
    lines: Sequence[str],
    segmenter: Segmenter,
    limit: int,
    on_long: Callable[[int], None] | None = None,
) -> list[list[Ids]]:
    """Return the ids of the parts of each line: none if it is blank, one if it is short enough.

    Args:
        lines: Source text.
        segmenter: Segmenter of the source language.
        limit: Most tokens of a part.
        on_long: Called with the number of tokens of each longer line.
    """
    parts: list[list[Ids]] = []
    for line, ids in zip(lines, segmenter.encode(lines), strict=True):
        if len(ids) <= limit:
            parts.append([ids] if ids and not line.isspace() else [])
            continue
        if on_long:
            on_long(len(ids))
        texts = split_long(line, limit, lambda texts: [len(x) for x in segmenter.encode(texts)])
        # A character can't be split, though it may have more tokens than the limit.
        parts.append([ids[:limit] for ids in segmenter.encode(texts) if ids])
    return parts


def sentences(text: str) -> list[str]:
    """Return the sentences of ``text``, as ``split_long`` splits them."""
    return [sentence.strip() for sentence in _cut(text, _SENTENCE_END)]


def split_long(text: str, limit: int, count: Count) -> list[str]:
    """Split ``text`` into parts of at most ``limit`` tokens; ``join_parts`` joins translations.

    Every sentence becomes a part, since models are trained on sentences. One that is still too long
    is split after commas and the like, then between words, then anywhere.
    """
    if count([text])[0] <= limit:
        return [text]
    return [part for sentence in sentences(text) for part in _fit(sentence, limit, count)]


def join_parts(parts: Iterable[str]) -> str:
    """Join translations of parts of a text, with a space where their script has spaces."""
    joined: list[str] = []
    for part in filter(None, parts):
        if joined and not _runs_on(joined[-1], part):
            joined.append(" ")
        joined.append(part)
    return "".join(joined)


def _runs_on(before: str, after: str) -> bool:
    """Return whether a part follows another without a space, as in Chinese and Japanese."""
    if unicodedata.category(before[-1]).startswith("P") and _is_unspaced(before[-1]):
        return True
    last = next(filter(str.isalpha, reversed(before)), " ")
    first = next(filter(str.isalpha, after), " ")
    return _is_unspaced(last) and _is_unspaced(first)


def _is_unspaced(character: str) -> bool:
    is_wide = unicodedata.east_asian_width(character) in "WFH"
    return is_wide and not unicodedata.name(character, "").startswith("HANGUL")


def _fit(
    text: str,
    limit: int,
    count: Count,
    boundaries: tuple[re.Pattern[str], ...] = (_CLAUSE_END, _WORD_END),
) -> list[str]:
    """Split a sentence into parts that fit, at the strongest boundaries that suffice."""
    if len(text) < 2 or count([text])[0] <= limit:
        return [text]
    if not boundaries:
        middle = _between_characters(text, len(text) // 2)
        halves = (text[:middle], text[middle:])
        return [part for half in halves for part in _fit(half, limit, count, ())]
    parts = _pack(_cut(text, boundaries[0]), limit, count)
    return [fitting for part in parts for fitting in _fit(part, limit, count, boundaries[1:])]


def _between_characters(text: str, place: int) -> int:
    """Return the next place that separates no mark from its letter; ``place`` if there is none."""
    for later in range(place, len(text)):
        is_mark = unicodedata.category(text[later])[0] == "M" or text[later] == _JOINER
        if not is_mark and text[later - 1] != _JOINER:
            return later
    return place


def _cut(text: str, boundary: re.Pattern[str]) -> list[str]:
    """Split at boundaries; white space stays with the piece before it.

    A full stop before a lower-case letter ends no sentence ("approx. five").
    """
    ends = [
        end
        for match in boundary.finditer(text)
        if (end := match.end()) and not (match[0][0] in ".!?…" and text[end : end + 1].islower())
    ]
    pieces = (text[a:b] for a, b in zip([0, *ends], [*ends, len(text)], strict=True))
    return [piece for piece in pieces if piece.strip()]


def _pack(pieces: Sequence[str], limit: int, count: Count) -> list[str]:
    """Join neighbors while they fit together; strip white space at the ends."""
    groups: list[list[str]] = []
    left = 0
    for piece, size in zip(pieces, count([piece.strip() for piece in pieces]), strict=True):
        if groups and size <= left:
            groups[-1].append(piece)
            left -= size
        else:
            groups.append([piece])
            left = limit - size
    return [part for group in groups for part in _joined(group, limit, count)]


def _joined(group: Sequence[str], limit: int, count: Count) -> list[str]:
    """Join a group to one part; to halves if that is too long.

    Joining may cost a token for every space, or change the segmentation.
    """
    text = "".join(group).strip()
    if len(group) == 1 or count([text])[0] <= limit:
        return [text]
    middle = len(group) // 2
    return [
        part for half in (group[:middle], group[middle:]) for part in _joined(half, limit, count)
    ]
