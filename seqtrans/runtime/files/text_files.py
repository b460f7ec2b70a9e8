r"""Read lines of UTF-8 text from plain and compressed files, the same on every platform.

Only LF and CRLF end a line. ``str.splitlines`` and text-mode files also break at U+2028, \x0b,
\x85 or a lone CR, which occur inside sentences and would shift one side of a parallel corpus.
"""

import errno
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from seqtrans.errors import DataError
from seqtrans.runtime.files.decompression import ByteSource, text_blocks
from seqtrans.runtime.files.encoding_hints import advice
from seqtrans.runtime.files.file_types import Foreign, foreign

_LONGEST = 1 << 24  # bytes of a line; a longer one is not text, or would exhaust memory
_HOLE = bytes(1 << 9)  # so many zeros occur only in a file damaged by a crash
_MARK = "\ufeff"
_OLD_MAC = "if it is text of an old Mac, convert it with tr '\\r' '\\n'"


def open_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a file without their ends; gzip, bzip2, xz and zstd are decompressed.

    The format is detected from the content, not from the name. A byte order mark is dropped. A
    last line without an end counts; an empty file has no lines. The file is opened when the first
    line is requested, and at most one block and one line are held in memory.

    Raises:
        DataError: The file can't be opened or decompressed, is not plain text, or not UTF-8.
    """
    return split_lines(open_blocks(path), str(path))


def stream_lines(stream: ByteSource, name: str) -> Iterator[str]:
    """Yield the lines of an open stream, each as soon as it is complete; see ``open_lines``.

    Raises:
        DataError: As ``open_lines``; the message calls it ``name``.
    """
    return split_lines(_stream_blocks(stream, name), name)


def split_lines(blocks: Iterable[bytes], name: str) -> Iterator[str]:
    """Split UTF-8 text, which comes in blocks cut anywhere, into lines; see ``open_lines``.

    Raises:
        DataError: The text is not UTF-8 (raised after the lines before it); a line is too long; or
            CR alone ends the lines. The message calls the text ``name``.
    """
    place = _Place(name)
    for text in _complete_lines(blocks, place):
        try:
            lines = place.decode(text).split("\n")
        except UnicodeDecodeError as error:
            good = text[: text.rfind(b"\n", 0, error.start) + 1]
            yield from place.decode(good).split("\n")[:-1]
            raise place.not_utf8(text, error.start) from error
        if last := lines.pop():
            lines.append(last)
        place.pass_over(text, len(lines))
        yield from lines


def _complete_lines(blocks: Iterable[bytes], place: "_Place") -> Iterator[bytes]:
    """Yield blocks that end at line ends; the last may be one line without an end."""
    pending: list[bytes] = []  # the beginning of an incomplete line
    held = 0  # bytes in ``pending``
    for block in blocks:
        end = block.rfind(b"\n") + 1
        if end:
            yield b"".join((*pending, block[:end]))
            pending, held = [block[end:]], len(block) - end
            continue
        pending.append(block)
        held += len(block)
        place.check_length(held, block)
    rest = b"".join(pending)
    if b"\r" in rest and place.line == 1:
        raise place.error(f"it has CRs but no line ends: {_OLD_MAC}")
    yield rest


@dataclass
class _Place:
    """Position in the text, for messages.

    Attributes:
        name: Name of the text in messages.
        line: Number of the next line, from 1.
        offset: Bytes before that line.
        is_utf8: Whether one of these bytes was above 0x7f.
    """

    name: str
    line: int = 1
    offset: int = 0
    is_utf8: bool = False

    def error(self, what: str, line: int = 0) -> DataError:
        """Return an error about a line, counted from the next one."""
        return DataError(f"{self.name}:{self.line + line}: {what}")

    def check_length(self, held: int, block: bytes) -> None:
        """Refuse a line of more than ``_LONGEST`` bytes."""
        if held > _LONGEST:
            hint = _OLD_MAC if b"\r" in block else "is it text?"
            raise self.error(f"the line has more than {_LONGEST:,} bytes: {hint}")

    def decode(self, text: bytes) -> str:
        """Decode the next lines, with LF at line ends.

        Raises:
            UnicodeDecodeError: It is not UTF-8.
            DataError: It has a hole of zero bytes.
        """
        if (hole := text.find(_HOLE)) >= 0:
            what = f"{len(_HOLE)} zero bytes in a row: the file is damaged or not text"
            raise self.error(what, text.count(b"\n", 0, hole))
        decoded = text.decode()
        if self.offset == 0:
            decoded = decoded.removeprefix(_MARK)
        return decoded.replace("\r\n", "\n") if "\r" in decoded else decoded

    def pass_over(self, text: bytes, lines: int) -> None:
        """Move the position behind text that was decoded."""
        self.line, self.offset = self.line + lines, self.offset + len(text)
        self.is_utf8 = self.is_utf8 or not text.removeprefix(BOM_UTF8).isascii()

    def not_utf8(self, text: bytes, start: int) -> DataError:
        """Return an error for the byte of ``text``, which comes next, that is not UTF-8."""
        column = start - text.rfind(b"\n", 0, start)
        if self.offset == 0 and text.startswith(BOM_UTF8) and b"\n" not in text[:start]:
            column -= len(BOM_UTF8)
        where = f"byte {column} of the line, byte {self.offset + start + 1} of the text"
        problem = f"not UTF-8: {where}, is 0x{text[start]:02x}; "
        return self.error(
            problem + advice(text, self.line - 1, utf8_before=self.is_utf8),
            text.count(b"\n", 0, start),
        )


def open_blocks(
    path: Path, refused: Callable[[bytes], Foreign | None] = foreign
) -> Iterator[bytes]:
    """Yield the bytes of a text file in blocks cut anywhere, decompressed; see ``open_lines``.

    Args:
        path: The file.
        refused: Returns the format of a file that begins so if it can't be read, else None.

    Raises:
        DataError: The file can't be opened or decompressed, or is ``refused``.
    """
    try:
        with path.open("rb") as file:
            yield from text_blocks(file, str(path), path.suffix.lower(), refused)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise DataError(f"{path}: is a folder, not a text file") from error
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror or error}") from error


def _stream_blocks(stream: ByteSource, name: str) -> Iterator[bytes]:
    try:
        yield from text_blocks(stream, name)
    except OSError as error:
        reason = "it is closed" if error.errno == errno.EBADF else error.strerror or error
        raise DataError(f"{name}: can't be read: {reason}") from error
