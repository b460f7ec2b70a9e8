# ruff: noqa: RUF001 - text of other languages
"""Files that are no plain text, made by what usually makes them."""

import gzip
import io
import lzma
import pickle
import shutil
import sqlite3
import subprocess
import tarfile
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from seqtrans.errors import DataError
from seqtrans.runtime.files.file_types import HEAD, foreign, more_would_tell
from seqtrans.runtime.files.text_files import open_lines, stream_lines

TEXT = "Grüße aus Köln, and a line of English\nПривет, мир\n你好,世界\n"


def tarred(mode):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        content = TEXT.encode()
        entry = tarfile.TarInfo("corpus.de")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def zipped(*names):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, TEXT)
    return stream.getvalue()


def picture(kind):
    stream = io.BytesIO()
    Image.new("RGB", (40, 40), "red").save(stream, kind)
    return stream.getvalue()


def database():
    connection = sqlite3.connect(":memory:")
    connection.execute("create table pairs (source, target)")
    return connection.serialize()


def array():
    stream = io.BytesIO()
    np.save(stream, np.arange(9))
    return stream.getvalue()


FOREIGN = {
    "tar": (tarred("w"), "a tar archive: .* tar -xf"),
    "tgz": (tarred("w:gz"), "a tar archive within .gz: .* tar -xf"),
    "tbz": (tarred("w:bz2"), "a tar archive within .bz2: .* tar -xf"),
    "txz": (tarred("w:xz"), "a tar archive within .xz: .* tar -xf"),
    "zip": (zipped("corpus.de"), "a zip archive: .* unzip"),
    "zip of nothing": (zipped(), "a zip archive"),
    "docx": (zipped("[Content_Types].xml", "word/document.xml"), "an Office document: save"),
    "pdf": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n", "a PDF document: .* pdftotext"),
    "7z": (b"7z\xbc\xaf'\x1c\x00\x04" + bytes(range(256)), "a 7z archive: .* 7z x"),
    "sqlite": (database(), "an SQLite database"),
    "parquet": (b"PAR1\x15\x04\x15" + bytes(40), "a Parquet table"),
    "npy": (array(), "a NumPy array"),
    "pickle": (pickle.dumps([TEXT]), "a pickle"),
    "twice": (gzip.compress(lzma.compress(TEXT.encode())), "is compressed within .gz: unpack it"),
    "unknown": (np.random.default_rng(1).bytes(4000), "binary data, not text|not UTF-8"),
    **{kind: (picture(kind), "an image") for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF")},
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("ending", [".txt", ".gz", ".tgz"])
def test_what_is_no_text_is_named_in_files_and_pipes(tmp_path, name, ending):
    content, said = FOREIGN[name]
    path = tmp_path / f"corpus{ending}"
    path.write_bytes(content)
    for lines in (open_lines(path), stream_lines(io.BytesIO(content), "<stdin>")):
        with pytest.raises(DataError, match=said) as error:
            list(lines)
        assert "\n" not in str(error.value)


WIDE = [f"utf-{bits}{order}" for bits in (16, 32) for order in ("", "le", "be")]


@pytest.mark.parametrize("encoding", WIDE)
@pytest.mark.parametrize(
    "text",
    [TEXT, *(line * 20 for line in TEXT.splitlines(keepends=True)), "hi\n", "naïve “quotes”\n"],
)
def test_the_advice_for_wide_text_brings_it_back(tmp_path, encoding, text):
    path = tmp_path / "text"
    path.write_bytes(text.encode(encoding))
    with pytest.raises(DataError) as error:
        list(open_lines(path))
    assert advised(str(error.value), path) == text


def advised(message, path):
    """What the command gives that a message advises."""
    command = message[message.index("iconv ") :].split()
    assert shutil.which("iconv"), "this test needs it"
    return subprocess.run([*command[:5], path], capture_output=True, check=True).stdout.decode()


@pytest.mark.parametrize("encoding", ["latin1", "windows-1252"])
def test_the_advice_for_western_text_brings_it_back(tmp_path, encoding):
    quotes = "„naïve“ – " if encoding == "windows-1252" else "naïve "
    text = "".join(f"{quotes}Grüße aus Köln, number {i}\n" for i in range(300))
    path = tmp_path / "text"
    path.write_bytes(text.encode(encoding))
    with pytest.raises(
        DataError, match=r":1: not UTF-8: .*; convert it from its encoding"
    ) as error:
        list(open_lines(path))
    assert advised(str(error.value), path) == text


@pytest.mark.parametrize(
    ("encoding", "line"),
    [
        ("gb18030", "今天天气很好,我们去公园吧"),
        ("shift_jis", "今日は天気がいいので公園へ行きましょう"),
        ("euc-kr", "오늘은 날씨가 좋아서 공원에 갑니다"),
        ("koi8-r", "Сегодня хорошая погода"),
        ("windows-1251", "Сегодня хорошая погода"),
    ],
)
def test_of_other_text_the_encoding_is_among_those_named_and_latin1_is_not(encoding, line):
    content = f"{line}\n".encode(encoding) * 300
    with pytest.raises(DataError, match=f"where ENCODING may be .*{encoding}") as error:
        list(stream_lines(io.BytesIO(content), "text"))
    assert "latin1" not in str(error.value)
    assert "1252" not in str(error.value)


@pytest.mark.parametrize(
    ("encoding", "line"),
    [("windows-1252", "Grüße"), ("windows-1252", "année créée"), ("windows-1250", "Żółta gęś śpi")],
)
def test_letters_beside_each_other_are_not_only_asian(encoding, line):
    with pytest.raises(DataError, match=f"may be .*{encoding}|iconv -f latin1 "):
        list(stream_lines(io.BytesIO(f"{line}\n".encode(encoding)), "text"))


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("every", [2, 10])
def test_text_of_two_encodings_is_not_converted_as_a_whole(first, every):
    lines = [f"die Kätze sieht für Nummer {i}" for i in range(400)]
    mixed = [
        line.encode("utf-8" if i % every == first else "latin1") for i, line in enumerate(lines)
    ]
    with pytest.raises(DataError, match=r"not UTF-8: .* some lines are UTF-8") as error:
        list(stream_lines(io.BytesIO(b"\n".join(mixed)), "text"))
    assert "iconv" not in str(error.value)


@pytest.mark.parametrize("line", ["die Kätze sieht Nummer 7", "the cat sees number 7"])
@pytest.mark.parametrize("size", [1 << 20, 100])
def test_one_bad_byte_is_mended_where_it_is(line, size):
    """Also where a pipe gives little at once."""
    lines = [line.encode()] * 400
    lines[300] += b" \xff"
    blocks = io.BytesIO(b"\n".join(lines) + b"\n")
    blocks.read1 = lambda _, read=blocks.read1: read(size)
    with pytest.raises(DataError, match=r"^x:301: not UTF-8: .* 0xff; .*repair or remove") as error:
        list(stream_lines(blocks, "x"))
    assert "latin1" not in str(error.value)


def test_text_of_an_old_mac_is_no_endless_line():
    for text in (b"one\rtwo\rthree\r", b"one\rtwo", b"\xef\xbb\xbfone\r"):
        with pytest.raises(
            DataError, match=r"^x:1: it has CRs but no line ends: .* tr '\\r' '\\n'$"
        ):
            list(stream_lines(io.BytesIO(text), "x"))
    with pytest.raises(DataError, match=r"more than 16,777,216 bytes: if it is text of an old Mac"):
        list(stream_lines(io.BytesIO(b"one\rtwo\r" * (1 << 22)), "x"))
    assert list(stream_lines(io.BytesIO(b"a\rb\nc\r\n"), "x")) == ["a\rb", "c"]


def test_zeros_are_text_unless_there_are_too_many():
    assert list(stream_lines(io.BytesIO(b"a\0b\nc\n"), "x")) == ["a\0b", "c"]
    hole = b"some text\n" * 400 + bytes(4096) + b"more\n"  # of a file system that crashed
    found = []
    with pytest.raises(DataError, match=r"^x:401: 512 zero bytes in a row: the file is damaged"):
        found.extend(stream_lines(io.BytesIO(hole), "x"))


@given(st.text(max_size=300), st.integers(0, 900))
def test_text_is_never_taken_for_something_else(text, length):
    """However it is cut; control characters, which only damaged text has, left aside."""
    content = "".join(c for c in text if c.isprintable() or c in "\t\r\n\x85\u2028").encode()
    assert foreign(content[:length][:HEAD]) is None


def test_a_byte_tells_mostly_that_it_is_text():
    unclear = {chr(byte) for byte in range(32, 127) if more_would_tell(bytes([byte]))}
    assert unclear == set("(BP7RLGISMA%{]")
    assert not any(map(more_would_tell, (b"B\n", b"Bahn", b"I'm", b"(a", b"a\0b\n")))
