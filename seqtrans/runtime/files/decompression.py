"""Read text bytes from plain and compressed streams; the format is detected from the content."""

import bz2
import itertools
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

import zstandard

from seqtrans.errors import DataError
from seqtrans.runtime.files.file_types import (
    HEAD,
    Foreign,
    compression,
    foreign,
    is_cut,
    more_would_tell,
)

_BLOCK = 1 << 18  # bytes of text handled at once
_PACKED_BLOCK = 1 << 11  # compressed bytes; small, because zstd can expand them 30,000 times
_UNPACKING = 1 << 29  # bytes of memory that decompression may take; xz -9 takes 2 ** 26
_GZIP = 31  # zlib's ``wbits`` for a stream with gzip's header and checksum
_DAMAGE = (EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError)


class _Unpacking(Protocol):
    """Decompressor of one frame."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


_FRAMES: dict[str, Callable[[], _Unpacking]] = {
    ".gz": lambda: zlib.decompressobj(_GZIP),
    ".bz2": bz2.BZ2Decompressor,
    ".xz": lambda: lzma.LZMADecompressor(memlimit=_UNPACKING),
    ".zst": lambda: zstandard.ZstdDecompressor().decompressobj(),
}


@runtime_checkable
class ByteSource(Protocol):
    """A binary stream that returns available bytes at once, such as ``sys.stdin.buffer``."""

    def read1(self, size: int = ..., /) -> bytes:
        """Read up to ``size`` bytes as soon as there are any; return none at the end."""
        ...


def text_blocks(
    stream: ByteSource,
    name: str,
    ending: str = "",
    refused: Callable[[bytes], Foreign | None] = foreign,
) -> Iterator[bytes]:
    """Yield a stream's text as blocks of bytes, as soon as they arrive, decompressed if needed.

    Args:
        stream: Plain, or compressed by gzip, bzip2, xz or zstd, in one part or several.
        name: Name of the stream in messages.
        ending: Extension of the file's name; it is used only to detect truncated files.
        refused: Returns the format of text that begins so if it can't be read, else None.

    Raises:
        DataError: It is truncated, damaged, or not plain text.
        OSError: It can't be read.
    """
    head, blocks = _peeked(_blocks(stream))
    packed = compression(head)
    if packed is None:
        if is_cut(head, ending):
            raise DataError(f"{name}: truncated: it ends after {len(head)} bytes")
        yield from _text(blocks, name, "", refused)
        return
    try:
        unpacked = _unpacked(blocks, _FRAMES[packed])
        yield from _text(unpacked, name, f" within {packed}", refused)
    except (*_DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # those of bz2 have none
            raise
        reason = str(error) or type(error).__name__
        raise DataError(
            f"{name}: {packed} that can't be unpacked, truncated or damaged: {reason}"
        ) from error


def _text(
    blocks: Iterator[bytes],
    name: str,
    within: str,
    refused: Callable[[bytes], Foreign | None],
) -> Iterator[bytes]:
    head, blocks = _peeked(blocks)
    if what := refused(head):
        raise DataError(f"{name}: is {what.name}{within}: {what.advice}")
    yield from blocks


def _blocks(stream: ByteSource) -> Iterator[bytes]:
    while block := stream.read1(_BLOCK):
        yield block


def _peeked(blocks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Return the first bytes, as few as determine the format, and all blocks including them."""
    head = b""
    while more_would_tell(head) and (block := next(blocks, None)) is not None:
        head += block
    return head[:HEAD], itertools.chain([head] if head else [], blocks)


def _unpacked(blocks: Iterator[bytes], begin: Callable[[], _Unpacking]) -> Iterator[bytes]:
    """Decompress all frames; the libraries' readers ignore a cut frame or data after a frame.

    Args:
        blocks: Concatenated compressed frames.
        begin: Creates the decompressor of one frame.
    """
    frame = None
    for part in _parts(blocks):
        left = part if frame else part.lstrip(b"\0")  # padding between frames
        while left:
            frame = frame or begin()
            yield frame.decompress(left)
            left = frame.unused_data.lstrip(b"\0")
            frame = None if frame.eof else frame
    if frame:
        raise EOFError("it ends within a frame")


def _parts(blocks: Iterator[bytes]) -> Iterator[bytes]:
    for block in blocks:
        for start in range(0, len(block), _PACKED_BLOCK):
            yield block[start : start + _PACKED_BLOCK]
