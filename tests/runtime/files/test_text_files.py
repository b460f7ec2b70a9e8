import bz2
import gzip
import io
import itertools
import lzma
import os
import zlib

import pytest
import zstandard
from hypothesis import assume, given
from hypothesis import strategies as st

from seqtrans.errors import DataError
from seqtrans.runtime.files.text_files import open_lines, split_lines, stream_lines

ZSTD = zstandard.ZstdCompressor(write_checksum=True)  # as the zstd command does
COMPRESS = {
    ".txt": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": ZSTD.compress,
}
PACKED = [ending for ending in COMPRESS if ending != ".txt"]
TRICKY = "a\u2028b\x0bc\x0cd\x85e\x1cf\rg\x00"
TEXT = st.text(st.sampled_from("ab é\u2028\x85\r\n\x0b\ufeff😀"), max_size=40)


def written(folder, content, name="text.txt"):
    path = folder / name
    path.write_bytes(content)
    return path


def blocks_of(content, cuts):
    edges = [0, *sorted({min(cut, len(content)) for cut in cuts}), len(content)]
    return [content[a:b] for a, b in itertools.pairwise(edges)]


def lines_by_python(content):
    """Independent answer: Python's own text layer, told that only LF ends a line."""
    lines = list(io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", newline="\n"))
    return [x.removesuffix("\r\n") if x.endswith("\r\n") else x.removesuffix("\n") for x in lines]


@given(TEXT, st.booleans(), st.lists(st.integers(0, 80), max_size=6))
def test_lines_are_pythons_wherever_blocks_are_cut(text, mark, cuts):
    assume("\n" in text or "\r" not in text)  # that would be text of an old Mac
    content = text.encode("utf-8-sig" if mark else "utf-8")
    assert list(split_lines(blocks_of(content, cuts), "x")) == lines_by_python(content)


@pytest.mark.parametrize("ending", COMPRESS)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_every_format_gives_the_same_lines(tmp_path, ending, line_end, mark):
    lines = [TRICKY, "", "Zürich 😀", "x" * 600_000, "last"]
    content = mark + line_end.join(lines).encode()
    assert list(open_lines(written(tmp_path, COMPRESS[ending](content), "t" + ending))) == lines


@pytest.mark.parametrize("ending", PACKED)
def test_compressed_parts_one_after_the_other_are_one_text(tmp_path, ending):
    content = COMPRESS[ending](b"one\ntw") + COMPRESS[ending](b"") + COMPRESS[ending](b"o\nthree")
    assert list(open_lines(written(tmp_path, content, "t" + ending))) == ["one", "two", "three"]


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf"])
def test_an_empty_file_has_no_lines(tmp_path, content):
    assert list(open_lines(written(tmp_path, content))) == []


def test_only_the_first_mark_is_dropped():
    mark = "\ufeff"
    blocks = [x.encode() for x in (f"{mark}{mark}one\n", f"{mark}two\n", f"three\n{mark}")]
    assert list(split_lines(blocks, "x")) == [f"{mark}one", f"{mark}two", "three", mark]


@pytest.mark.parametrize("ending", PACKED)
@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_a_truncated_file_is_named(tmp_path, ending, keep):
    content = COMPRESS[ending](os.urandom(300_000).hex().encode())
    path = written(tmp_path, content[: int(len(content) * keep)], "t" + ending)
    said = f"t{ending}: {ending} that can't be unpacked, truncated"
    with pytest.raises(DataError, match=said) as error:
        list(open_lines(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("ending", PACKED)
@pytest.mark.parametrize("content", [b"plain text\n" * 50, b"(\n", b"BZh9 is no word\n", b"BZ"])
def test_text_that_is_not_compressed_is_read_whatever_its_name_says(tmp_path, ending, content):
    path = written(tmp_path, content, "t" + ending)
    if content == b"BZ" and ending == ".bz2":
        with pytest.raises(DataError, match="truncated: it ends after 2 bytes"):
            list(open_lines(path))
    else:
        assert list(open_lines(path)) == lines_by_python(content)


@pytest.mark.parametrize("ending", PACKED)
@pytest.mark.parametrize("content", [b"one\ntwo\n", b""])
def test_a_compressed_file_is_read_whatever_its_name_says_and_from_a_pipe(
    tmp_path, ending, content
):
    packed = COMPRESS[ending](content)
    expected = lines_by_python(content)
    assert list(open_lines(written(tmp_path, packed, "t.txt"))) == expected
    assert list(stream_lines(io.BytesIO(packed), "<stdin>")) == expected
    assert list(stream_lines(Trickle(packed), "<stdin>")) == expected


class Trickle(io.BytesIO):
    """A pipe that never has more than a byte."""

    def read1(self, size=-1):
        return super().read1(min(size, 1))


@pytest.mark.parametrize("ending", PACKED)
def test_no_part_of_a_compressed_file_is_taken_for_a_whole_one(tmp_path, ending):
    """Not even where it ends before what it is recognized by."""
    content = COMPRESS[ending](b"".join(b"%d lines\n" % i for i in range(99)))
    for length in range(len(content)):
        with pytest.raises(DataError, match=f"t{ending}: ") as error:
            list(open_lines(written(tmp_path, content[:length], "t" + ending)))
        assert "truncated" in str(error.value)


@pytest.mark.parametrize("ending", PACKED)
def test_a_damaged_file_is_named(tmp_path, ending):
    content = bytearray(COMPRESS[ending](os.urandom(30_000).hex().encode()))
    middle = len(content) // 2
    content[middle : middle + 400] = bytes(400)
    with pytest.raises(DataError, match=f"t{ending}: "):
        list(open_lines(written(tmp_path, bytes(content), "t" + ending)))


@pytest.mark.parametrize("ending", PACKED)
def test_what_would_unpack_to_an_endless_line_is_refused(tmp_path, ending):
    content = COMPRESS[ending](b"a" * (1 << 23)) * 8
    with pytest.raises(DataError, match=r"t\.\w+:1: the line has more than 16,777,216 bytes"):
        list(open_lines(written(tmp_path, content, "t" + ending)))


def test_xz_that_needs_more_memory_than_text_is_worth_is_refused(tmp_path):
    content = bytearray(lzma.compress(b"one\n"))
    assert content[14:16] == b"\x21\x01"  # LZMA2, a byte about its dictionary
    content[16] = 36  # 1 GiB
    content[20:24] = zlib.crc32(content[12:20]).to_bytes(4, "little")
    with pytest.raises(DataError, match=r"t\.xz: \.xz that can't be unpacked, .*: Memory usage"):
        list(open_lines(written(tmp_path, bytes(content), "t.xz")))


def test_padding_between_parts_of_xz_is_allowed_and_what_follows_is_not_lost(tmp_path):
    part = lzma.compress(b"one\n")
    padded = written(tmp_path, part + bytes(4) + part + bytes(8), "t.xz")
    assert list(open_lines(padded)) == ["one", "one"]
    with pytest.raises(DataError, match=r"t\.xz: \.xz that can't be unpacked"):
        list(open_lines(written(tmp_path, part + b"more", "t.xz")))


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.de: no such file$"):
        list(open_lines(tmp_path / "none.de"))
    with pytest.raises(DataError, match=r"is a folder, not a text file$"):
        list(open_lines(tmp_path))


@pytest.mark.parametrize("ending", COMPRESS)
def test_bad_utf8_is_located_by_line_and_byte(tmp_path, ending):
    before = "Grüße\r\n" * 100_000  # several blocks
    content = before.encode() + "Füße: ".encode() + b"caf\xe9 au lait\nmore\n"
    path = written(tmp_path, COMPRESS[ending](content), "t" + ending)
    with pytest.raises(DataError) as error:
        list(open_lines(path))
    offset = content.index(b"\xe9") + 1
    assert str(error.value) == (
        f"{path}:100001: not UTF-8: byte 12 of the line, byte {offset} of the text, is 0xe9; the "
        "text around it is UTF-8, so this line is damaged: repair or remove it, or drop the wrong "
        "bytes with iconv -c -f utf-8 -t utf-8"
    )


@pytest.mark.parametrize("bad", [b"\x80", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_the_byte_is_right_after_a_mark_and_in_the_last_line(bad, mark):
    content = mark + b"ok\nab" + bad
    with pytest.raises(
        DataError, match=rf"^x:2: not UTF-8: byte 3 of the line, byte {len(mark) + 6} "
    ):
        list(split_lines([content], "x"))


@given(TEXT, st.booleans(), st.lists(st.integers(0, 80), max_size=6))
def test_lines_before_a_bad_one_are_given_out(text, mark, cuts):
    """And nothing else is, however blocks lie; the bad line is the one after them."""
    before = text.encode("utf-8-sig" if mark else "utf-8") + (b"\n" if text else b"")
    lines, found = lines_by_python(before), []
    with pytest.raises(DataError, match=f"^x:{len(lines) + 1}: .* byte {len(before) + 2} of"):
        found.extend(split_lines(blocks_of(before + b"a\xff\nafter\n", cuts), "x"))
    assert found == lines


def test_a_character_cut_off_at_the_end_is_no_utf8():
    with pytest.raises(DataError, match="byte 2 of the line, byte 2 of the text, is 0xc3"):
        list(split_lines([b"a\xc3"], "x"))


def test_a_stream_gives_a_line_before_it_ends():
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream, os.fdopen(writing, "wb", buffering=0) as feed:
        lines = stream_lines(stream, "<stdin>")
        feed.write(b"one\ntwo\nthr")
        assert [next(lines), next(lines)] == ["one", "two"]
        feed.write(b"ee\n")
        assert next(lines) == "three"


def test_only_what_is_asked_for_is_read():
    def blocks():
        yield b"one\n"
        raise AssertionError("asked for too much")

    assert next(split_lines(blocks(), "x")) == "one"
