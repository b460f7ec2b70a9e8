"""A translation memory in TMX (https://www.gala-global.org/tmx-14b)."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.parsers import expat

from seqtrans.errors import DataError
from seqtrans.runtime.files.file_types import Foreign, foreign
from seqtrans.runtime.files.text_files import open_blocks
from seqtrans.translation.data.formats.base import CorpusFiles

_CODES = frozenset(("bpt", "ept", "it", "ph", "ut"))
"""Elements that hold markup instead of text; ``hi`` holds text."""
_LONGEST = 1 << 24  # characters of a sentence
_SPACE = re.compile("[ \t\r\n]+")  # XML may be indented and wrapped with it


@dataclass(frozen=True, kw_only=True)
class TmxFile(CorpusFiles):
    """A translation memory in TMX: a pair for every unit that has both languages."""

    kind: Literal["tmx"] = "tmx"
    file: Path
    """TMX file; plain, .gz, .bz2, .xz or .zst."""
    source_language: str
    """Code of the source language; en stands for en-US, too, unless a unit has en itself."""
    target_language: str
    """Code of the target language."""

    def __post_init__(self) -> None:
        if _normalized(self.source_language) == _normalized(self.target_language):
            raise ValueError(
                f"source_language {self.source_language} and target_language "
                f"{self.target_language} must differ"
            )

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Read unit by unit, in bounded memory."""
        reader = _Reader(self)
        for block in open_blocks(self.file, _not_xml):
            yield from reader.read(block)
        yield from reader.read(b"", is_last=True)
        reader.check_found()


def _not_xml(head: bytes) -> Foreign | None:
    """Return what a file is if not XML, which may be UTF-16 with a byte order mark."""
    is_wide = head.startswith((b"\xff\xfe<\0", b"\xfe\xff\0<"))
    return None if is_wide else foreign(head)


class _Reader:
    """Parses the bytes of a TMX file into pairs."""

    def __init__(self, corpus: TmxFile) -> None:
        self.name = str(corpus.file)
        self.wanted = (corpus.source_language, corpus.target_language)
        self.languages: dict[str, None] = {}  # of all units
        self.has_pairs = False
        self.pairs: list[tuple[str, str]] = []  # of the current block
        self.unit: dict[str, str] = {}  # sentences by language
        self.language = ""
        self.text: list[str] | None = None  # parts of the current sentence
        self.length = 0
        self.codes = 0  # depth of nested markup elements
        self.is_open = False
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end
        self.parser.CharacterDataHandler = self.add
        self.parser.EntityDeclHandler = self.refuse_entity
        self.parser.SkippedEntityHandler = self.refuse_unknown_entity

    def read(self, block: bytes, *, is_last: bool = False) -> list[tuple[str, str]]:
        """Parse the next block and return the pairs that end in it."""
        self.pairs = []
        try:
            self.parser.Parse(block, is_last)
        except expat.ExpatError as error:
            reason = expat.ErrorString(error.code)
            raise DataError(f"{self.name}:{error.lineno}: not XML: {reason}") from None
        except (ValueError, LookupError) as error:  # unknown or wrong encoding
            raise self.error(f"XML that can't be decoded: {error}; convert it to UTF-8") from None
        return self.pairs

    def error(self, what: str) -> DataError:
        """Return an error that names the current line."""
        return DataError(f"{self.name}:{self.parser.CurrentLineNumber}: {what}")

    def check_found(self) -> None:
        """Refuse a file without a unit of both languages."""
        if self.has_pairs:
            return
        known = ", ".join(self.languages)
        has = f"its languages are {known}" if known else "it has no units"
        raise DataError(f"{self.name}: no unit has both {' and '.join(self.wanted)}: {has}")

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        """Read the start of an element."""
        if not self.is_open and name != "tmx":
            raise self.error(f"not TMX: it begins with <{name}>, not <tmx>")
        self.is_open = True
        if self.text is not None:
            self.codes += name in _CODES
        elif name == "tu":
            self.unit = {}
        elif name == "tuv":
            language = attributes.get("xml:lang") or attributes.get("lang")
            if not language:
                raise self.error("<tuv> has no xml:lang")
            self.language = language
        elif name == "seg":
            self.text, self.codes, self.length = [], 0, 0

    def end(self, name: str) -> None:
        """Read the end of an element."""
        if name == "seg":
            sentence = _SPACE.sub(" ", "".join(self.text or ())).strip(" ")
            self.unit.setdefault(_normalized(self.language), sentence)
            self.languages[self.language] = None
            self.text = None
        elif self.text is not None:
            self.codes -= name in _CODES
        elif name == "tu":
            pair = _chosen(self.unit, self.wanted)
            if pair:
                self.has_pairs = True
                self.pairs.append(pair)

    def add(self, text: str) -> None:
        """Read a part of the text of a sentence."""
        if self.text is None or self.codes:
            return
        self.text.append(text)
        self.length += len(text)
        if self.length > _LONGEST:
            raise self.error(f"a sentence has more than {_LONGEST:,} characters")

    def refuse_entity(self, name: str, *_: object) -> None:
        """Refuse declared entities: a few lines of them can expand to gigabytes."""
        raise self.error(f"declares the entity {name!r}; replace it by its text")

    def refuse_unknown_entity(self, name: str, _: int) -> None:
        """Refuse undeclared entities, which the parser would skip."""
        raise self.error(f"the entity &{name}; is not declared")


def _chosen(unit: Mapping[str, str], wanted: tuple[str, str]) -> tuple[str, str] | None:
    """Return the sentences of two languages, or None; the longer code is matched first."""
    left = dict(unit)
    sentences: dict[str, str] = {}
    for code in sorted(wanted, key=len, reverse=True):
        language = _nearest(_normalized(code), left)
        if language is None:
            return None
        sentences[code] = left.pop(language)
    return sentences[wanted[0]], sentences[wanted[1]]


def _nearest(code: str, languages: Mapping[str, str]) -> str | None:
    """Return the language that a code matches: itself, else one of its regions, else its parent."""
    if code in languages:
        return code
    regions = [language for language in languages if language.startswith(f"{code}-")]
    general = [language for language in languages if code.startswith(f"{language}-")]
    return next(iter(regions + general), None)


def _normalized(code: str) -> str:
    return code.strip().lower().replace("_", "-")
