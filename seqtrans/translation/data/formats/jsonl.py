"""A file of JSON objects, one a line."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from seqtrans.errors import DataError
from seqtrans.runtime.files.text_files import open_lines
from seqtrans.translation.data.formats.base import CorpusFiles

_LINE_ENDS = re.compile("[\r\n]+")


@dataclass(frozen=True, kw_only=True)
class JsonLinesFile(CorpusFiles):
    """JSON lines: an object on every line, with both sentences in it."""

    kind: Literal["jsonl"] = "jsonl"
    file: Path
    """File of JSON objects, one a line; plain, .gz, .bz2, .xz or .zst."""
    source_key: str = "source"
    """Key of the source sentence; dots lead into objects: translation.en."""
    target_key: str = "target"
    """Key of the target sentence."""

    def __post_init__(self) -> None:
        if self.source_key == self.target_key:
            raise ValueError(f"source_key and target_key must differ, not both {self.source_key!r}")

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Read a pair from every line; a line end within a sentence becomes a space."""
        for number, line in enumerate(open_lines(self.file), start=1):
            place = f"{self.file}:{number}"
            record = _parse(line, place)
            yield (
                _sentence(record, self.source_key, place),
                _sentence(record, self.target_key, place),
            )


def _parse(line: str, place: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        what = f"{error.msg} at character {error.pos + 1}" if line.strip() else "the line is empty"
        raise DataError(f"{place}: not JSON: {what}; every line must be a JSON object") from None
    except (ValueError, RecursionError) as error:  # very long numbers, very deep nesting
        raise DataError(f"{place}: JSON that can't be read: {error}") from None


def _sentence(record: Any, key: str, place: str) -> str:
    sentence = _lookup(record, key, place)
    if not isinstance(sentence, str):
        raise DataError(f"{place}: '{key}' must be text, not {_kind_of(sentence)}")
    try:
        sentence.encode()
    except UnicodeEncodeError as error:
        code = f"\\u{ord(sentence[error.start]):04x}"
        raise DataError(f"{place}: '{key}' has half a surrogate pair, {code}") from None
    return _LINE_ENDS.sub(" ", sentence)


def _lookup(value: Any, key: str, place: str) -> Any:
    """Return the value of a key of an object; dots lead into nested objects."""
    full_key = key
    while isinstance(value, dict):
        parent = cast("dict[str, Any]", value)
        if key in parent:
            return parent[key]
        first, dot, key = key.partition(".")
        if not dot or first not in parent:
            keys = ", ".join(map(repr, parent)) or "no keys"
            raise DataError(f"{place}: lacks the key '{full_key}'; it has {keys}")
        value = parent[first]
    raise DataError(f"{place}: lacks the key '{full_key}': {_kind_of(value)} is not an object")


def _kind_of(value: Any) -> str:
    kinds = {str: "text", bool: "true or false", list: "a list", dict: "an object"}
    kind = kinds.get(type(value), "a number")
    return "null" if value is None else kind
