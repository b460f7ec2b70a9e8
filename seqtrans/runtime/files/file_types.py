"""Detect the type of a file from its first bytes; its name is ignored."""

import codecs
import tarfile
from contextlib import suppress
from typing import NamedTuple

HEAD = 512
"""Number of first bytes that are enough to recognize every format here."""

COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
"""File name extensions of the compression formats that can be read."""

_BZ2_BLOCKS = (b"1AY&SY", b"\x17rE8P\x90")  # one of them follows "BZh" and a digit
_ZSTD_SKIPPED = b"*M\x18"  # after a byte from 0x50 to 0x5f: zstd's skippable frame
_BINARY_SHARE = 0.3  # share of control characters; text has few, UTF-16 of Latin text has half
_WIDE_SHARE = 0.1  # the same in UTF-16 of other scripts, which has line ends and commas


class Foreign(NamedTuple):
    """A format that is not plain text.

    Attributes:
        name: Name with its article.
        advice: How to get plain text from such a file.
    """

    name: str
    advice: str


_UNPACK = "unpack it first, for instance with"
_AS_TEXT = "save or export it as plain text in UTF-8"
_OTHER = "give a file of plain text"
_TAR = Foreign("a tar archive", f"{_UNPACK} tar -xf, and name the text files in it")
_ZIP = Foreign("a zip archive", f"{_UNPACK} unzip, and name the text files in it")
_PACKED = Foreign("compressed", "unpack it first")
_WIDE = {
    name: Foreign(f"{name.upper()} text", f"convert it with iconv -f {name} -t utf-8")
    for name in ("utf-32", "utf-32le", "utf-32be", "utf-16", "utf-16le", "utf-16be")
}
_OFFICE = Foreign("an Office document", _AS_TEXT)
_IMAGE = Foreign("an image", _OTHER)
_BINARY = Foreign("binary data, not text", _OTHER)
_FOREIGN = {
    b"7z\xbc\xaf'\x1c": Foreign("a 7z archive", f"{_UNPACK} 7z x"),
    b"Rar!\x1a\x07": Foreign("a RAR archive", f"{_UNPACK} unrar x"),
    b"\x1f\x9d": Foreign("compressed by compress", f"{_UNPACK} uncompress"),
    b'\x04"M\x18': Foreign("compressed by lz4", f"{_UNPACK} lz4 -d"),
    b"LZIP\x01": Foreign("compressed by lzip", f"{_UNPACK} lzip -d"),
    b"]\x00\x00": Foreign("compressed by lzma", f"{_UNPACK} xz -d --format=lzma"),
    b"%PDF-": Foreign("a PDF document", "convert it to text first, for instance with pdftotext"),
    b"{\\rtf1": Foreign("an RTF document", _AS_TEXT),
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": _OFFICE,
    b"SQLite format 3\x00": Foreign("an SQLite database", _AS_TEXT),
    b"PAR1\x15": Foreign("a Parquet table", _AS_TEXT),
    b"ARROW1\x00\x00": Foreign("an Arrow table", _AS_TEXT),
    b"\x89HDF\r\n": Foreign("an HDF5 file", _OTHER),
    b"\x93NUMPY": Foreign("a NumPy array", _OTHER),
    **{bytes((0x80, protocol)): Foreign("a pickle", _OTHER) for protocol in range(2, 6)},
    **dict.fromkeys((b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a"), _IMAGE),
    **dict.fromkeys((b"II*\x00", b"MM\x00*"), _IMAGE),
    b"\xff\xfe\x00\x00": _WIDE["utf-32"],
    b"\x00\x00\xfe\xff": _WIDE["utf-32"],
    b"\xff\xfe": _WIDE["utf-16"],
    b"\xfe\xff": _WIDE["utf-16"],
}
_ZIPPED = (b"PK\x03\x04", b"PK\x05\x06")


def compression(head: bytes) -> str | None:
    """Return the extension in ``COMPRESSED`` of a file that begins with ``head``, else None."""
    if head[1:4] == _ZSTD_SKIPPED and 0x50 <= head[0] <= 0x5F:
        return ".zst"
    return next((ending for magic, ending in _packed(head) if head.startswith(magic)), None)


def is_cut(head: bytes, ending: str) -> bool:
    """Return whether a complete file is shorter than the magic bytes of its extension."""
    return any(ending == of and magic.startswith(head) for magic, of in _packed(head))


def more_would_tell(head: bytes) -> bool:
    """Return whether more bytes could change the detected type; text mostly needs one byte."""
    if len(head) >= HEAD:
        return False
    magics = (*(magic for magic, _ in _packed(head)), *_FOREIGN, *_ZIPPED)
    is_begun = any(magic.startswith(head) for magic in magics)
    return is_begun or head.startswith(_ZIPPED) or _is_binary(head)


def foreign(head: bytes) -> Foreign | None:
    """Return the format of a file that is not plain text; None if it may be plain text.

    Args:
        head: The first bytes, up to ``HEAD``, uncompressed.
    """
    if compression(head):
        return _PACKED
    if head.startswith(_ZIPPED):
        marks = (b"[Content_Types].xml", b"_rels/.rels", b"mimetypeapplication/")
        return _OFFICE if any(mark in head for mark in marks) else _ZIP
    longest_first = sorted(_FOREIGN, key=len, reverse=True)
    if magic := next((magic for magic in longest_first if head.startswith(magic)), None):
        return _FOREIGN[magic]
    if (head[:4] == b"RIFF" and head[8:12] == b"WEBP") or (
        head[:2] == b"BM" and not any(head[6:10])
    ):
        return _IMAGE
    if _is_tar(head):
        return _TAR
    return _wide(head) or (_BINARY if _is_binary(head) else None)


def _packed(head: bytes) -> list[tuple[bytes, str]]:
    """Return magic bytes and extensions of compressed files; text may begin with "BZh9", too."""
    level = head[3:4] if head[3:4].isdigit() else b"9"
    return [
        (b"\x1f\x8b", ".gz"),
        *((b"BZh" + level + block, ".bz2") for block in _BZ2_BLOCKS),
        (b"\xfd7zXZ\x00", ".xz"),
        (b"(\xb5/\xfd", ".zst"),
    ]


def _is_tar(head: bytes) -> bool:
    if b"\0" not in head:
        return False
    with suppress(tarfile.HeaderError):  # a checksum is part of the header
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
        return True
    return False


def _is_binary(head: bytes, share: float = _BINARY_SHARE) -> bool:
    """Return whether the share of control characters is too high; UTF-16 has them as bytes."""
    controls = sum(byte < 9 or 14 <= byte < 27 for byte in head)
    return controls > 1 and controls >= share * len(head)


def _wide(head: bytes) -> Foreign | None:
    """Detect UTF-16 or UTF-32 without a byte order mark by the positions of zero bytes."""
    if b"\0" not in head or not (_is_binary(head, _WIDE_SHARE) or _decoded(head, "utf-8") is None):
        return None
    at = {place % 4 for place, byte in enumerate(head) if byte == 0}
    for name, zeros in (
        ("utf-32le", {1, 2, 3}),
        ("utf-32be", {0, 1, 2}),
        ("utf-16le", {1, 3}),
        ("utf-16be", {0, 2}),
    ):
        text = _decoded(head, name) if at <= zeros else None
        if text and all(character.isprintable() or character.isspace() for character in text):
            return _WIDE[name]
    return None


def _decoded(head: bytes, encoding: str) -> str | None:
    """Decode bytes that may end within a character; return None if they are invalid."""
    try:
        return codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeDecodeError:
        return None
