r"""Lines of UTF-8 text from plain and compressed files, the same whatever wrote them.

Only LF and CRLF end a line. ``str.splitlines`` and text-mode files also break at U+2028, \x0b,
\x85 or a lone CR, which occur inside sentences and would shift one side of a parallel corpus.
"""

import gzip
import io
import lzma
import zlib
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

import zstandard

from seqtrans.errors import DataError

COMPRESSED = (".gz", ".xz", ".zst")
"""Endings of names of files that are unpacked."""
_BLOCK = 1 << 18  # bytes of text handled at once
_LONGEST = 1 << 24  # bytes of a line; more is no text, or unpacks to more than memory holds
_PACKED_BLOCK = 1 << 11  # compressed bytes; small, because zstd can blow them up 30,000 times
_UNPACKING = 1 << 29  # bytes of memory that unpacking may take; xz -9 takes 2 ** 26
_NOT_AS_NAMED = (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, zstandard.ZstdError)
_MAGIC = {b"\x1f\x8b": ".gz", b"\xfd7zXZ\x00": ".xz", b"(\xb5/\xfd": ".zst"}


class _Unpacking(Protocol):
    """What unpacks one frame."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


@runtime_checkable
class ByteSource(Protocol):
    """A binary stream that hands out what it has, such as ``sys.stdin.buffer``."""

    def read1(self, size: int = ..., /) -> bytes:
        """Up to ``size`` bytes as soon as there are any; none at the end."""
        ...


def open_lines(path: Path) -> Iterator[str]:
    """Lines of a file without their ends; ``.gz``, ``.xz`` and ``.zst`` are decompressed.

    A byte order mark is dropped. A last line without an end counts; an empty file has no lines.
    The file is opened at the first line asked for, and at most a block and a line are held.

    Raises:
        DataError: The file can't be opened or decompressed, or is not UTF-8.
    """
    return split_lines(_read_blocks(path), str(path))


def stream_lines(stream: ByteSource, name: str) -> Iterator[str]:
    """Lines of an open stream, each as soon as it is complete; see ``open_lines``.

    Raises:
        DataError: The stream is not UTF-8; the message calls it ``name``.
    """
    return split_lines(_blocks(stream), name)


def split_lines(blocks: Iterable[bytes], name: str) -> Iterator[str]:
    """Lines of UTF-8 text that comes in blocks cut anywhere; see ``open_lines``.

    Raises:
        DataError: The text is not UTF-8, after the lines before, or a line is endless; the message
            calls it ``name``.
    """
    pending: list[bytes] = []  # the beginning of a line whose end has not come yet
    line, offset, held = 1, 0, 0  # of what is decoded next; bytes pending
    for block in blocks:
        end = block.rfind(b"\n") + 1
        if not end:
            pending.append(block)
            held += len(block)
            _check_length(held, name, line)
            continue
        text = b"".join((*pending, block[:end]))
        pending, held = [block[end:]], len(block) - end
        try:
            lines = _decode(text, name, line, offset).split("\n")
        except DataError:
            yield from _until_bad(text, name, line, offset)
            raise
        lines.pop()
        yield from lines
        line, offset = line + len(lines), offset + len(text)
    if rest := _decode(b"".join(pending), name, line, offset):
        yield rest


def _check_length(held: int, name: str, line: int) -> None:
    if held > _LONGEST:
        raise DataError(f"{name}:{line}: the line has more than {_LONGEST:,} bytes: is it text?")


def _until_bad(text: bytes, name: str, line: int, offset: int) -> Iterator[str]:
    """The lines before the one that is not UTF-8, which raises."""
    for number, part in enumerate(io.BytesIO(text)):
        yield _decode(part, name, line + number, offset).removesuffix("\n")
        offset += len(part)


def _decode(text: bytes, name: str, line: int, offset: int) -> str:
    """Text with LF at line ends; ``line`` and ``offset`` say where in the file it begins."""
    if offset == 0 and text.startswith(BOM_UTF8):
        text, offset = text[len(BOM_UTF8) :], len(BOM_UTF8)
    try:
        decoded = text.decode()
    except UnicodeDecodeError as error:
        raise _not_utf8(text, name, line, offset, error.start) from error
    return decoded.replace("\r\n", "\n") if "\r" in decoded else decoded


def _not_utf8(text: bytes, name: str, line: int, offset: int, start: int) -> DataError:
    line += text.count(b"\n", 0, start)
    column = start - text.rfind(b"\n", 0, start)
    where = f"{name}:{line}: not UTF-8: byte {column} of the line, byte {offset + start + 1} of "
    hints = [suffix for magic, suffix in _MAGIC.items() if offset == 0 and text.startswith(magic)]
    if hints:
        hint = f"it is compressed: give its name the ending {hints[0]}"
    elif offset == 0 and text.startswith((b"\xff\xfe", b"\xfe\xff")):
        hint = "it is UTF-16: convert it with iconv -f utf-16 -t utf-8"
    else:
        hint = "convert it, for instance with iconv -f latin1 -t utf-8"
    return DataError(f"{where}the text, is 0x{text[start]:02x}; {hint}")


def _read_blocks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            match path.suffix:
                case ".gz":
                    with gzip.GzipFile(fileobj=file) as text:
                        yield from _blocks(text)
                case ".xz":
                    yield from _unpacked(file, lambda: lzma.LZMADecompressor(memlimit=_UNPACKING))
                case ".zst":
                    yield from _unpacked(file, lambda: zstandard.ZstdDecompressor().decompressobj())
                case _:
                    yield from _blocks(file)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise DataError(f"{path}: is a folder, not a text file") from error
    except _NOT_AS_NAMED as error:
        reason = str(error) or type(error).__name__
        raise DataError(f"{path}: truncated, or not {path.suffix} at all: {reason}") from error
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror or error}") from error


def _blocks(stream: ByteSource) -> Iterator[bytes]:
    while block := stream.read1(_BLOCK):
        yield block


def _unpacked(file: ByteSource, begin: Callable[[], _Unpacking]) -> Iterator[bytes]:
    """Text of all frames; the libraries' own readers pass over a cut frame, or over what follows.

    Args:
        file: Compressed frames, one after the other.
        begin: What unpacks one frame.
    """
    frame = None
    while block := file.read1(_PACKED_BLOCK):
        block = block if frame else block.lstrip(b"\0")  # padding between frames of xz
        while block:
            frame = frame or begin()
            yield frame.decompress(block)
            block = frame.unused_data.lstrip(b"\0")
            frame = None if frame.eof else frame
    if frame:
        raise EOFError("the file ends within a frame")
