"""Check text from Python callers: any iterable of strings, each as it comes."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

Target = str | Sequence[str] | Sequence[Sequence[str]]
Pair = tuple[str, Target]
"""Source text, and the target as text, as pieces, or as the pieces of every part of a long line."""


def given_lines(lines: Iterable[str], method: str) -> Iterator[str]:
    """Yield the lines of a caller; ``method`` is the called method, for errors.

    A line end at the end of a line is removed; others become spaces.

    Raises:
        TypeError: ``lines`` is one string or not iterable, which is raised at once; or an item is
            not a string, which is raised when it comes and names its number, from 1.
    """
    return map(_line, _numbered(lines, method, "lines"))


def given_pairs(pairs: Iterable[Pair], method: str) -> Iterator[Pair]:
    """Yield the pairs of a caller; see ``given_lines``.

    Raises:
        TypeError: See ``given_lines``; or an item is not a source and a target.
    """
    return map(_pair, _numbered(pairs, method, "(source, target) pairs"))


def _numbered(items: object, method: str, what: str) -> Iterator[tuple[int, object]]:
    if isinstance(items, str) and what == "lines":
        raise TypeError(f"{method} takes a list of lines: {method}([{items[:20]!r}])")
    dimensions = getattr(
        items, "ndim", 1
    )  # iterating a table of pandas gives the names of its columns
    is_text = isinstance(items, str | bytes | bytearray)
    if is_text or not isinstance(items, Iterable) or dimensions != 1:
        kind = type(items).__name__
        having = f" of {dimensions} dimensions" if dimensions != 1 else ""
        raise TypeError(f"{method} takes a list of {what}, not {kind}{having}")
    return enumerate(cast("Iterable[object]", items), start=1)


def _line(numbered: tuple[int, object]) -> str:
    number, line = numbered
    return _text(line, "line", number)


def _pair(numbered: tuple[int, object]) -> Pair:
    number, pair = numbered
    if not isinstance(pair, tuple | list) or len(cast("Sequence[Any]", pair)) != 2:
        raise TypeError(f"pair {number} is not (source, target) but {_kind(pair)}")
    source, target = cast("Sequence[object]", pair)
    source = _text(source, "the source of pair", number)
    if isinstance(target, Iterable) and not isinstance(target, str | bytes | bytearray):
        pieces = list(cast("Iterable[object]", target))
        if pieces and all(isinstance(part, list | tuple) for part in pieces):
            parts = cast("list[Sequence[object]]", pieces)
            return source, [[_piece(piece, number) for piece in part] for part in parts]
        return source, [_piece(piece, number) for piece in pieces]
    return source, _text(target, "the target of pair", number)


def _text(line: object, what: str, number: int) -> str:
    if not isinstance(line, str):
        raise TypeError(f"{what} {number} is not a str but {_kind(line)}")
    return line.rstrip("\r\n").replace("\n", " ") if "\n" in line else line


def _piece(piece: object, number: int) -> str:
    if not isinstance(piece, str):
        raise TypeError(f"a piece of the target of pair {number} is not a str but {_kind(piece)}")
    return piece


def _kind(value: object) -> str:
    """Return type and value, shortened: ``None``, ``float nan``, ``bytes b'elm'``."""
    return "None" if value is None else f"{type(value).__name__} {value!r:.40}"
