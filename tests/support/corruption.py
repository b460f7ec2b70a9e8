"""Ways to harm the content of a file, drawn at random."""

import gzip
import lzma
import random
import re
import struct

import zstandard

Chance = random.Random

LONG = 1_000_000
HUGE = ("99999999999999999999", "-1", "0", "1e400", "4294967296", "9223372036854775807", "NaN")
WEIRD = (
    *('"\\ud800"', '"\\0"', "&a [*a, *a]", "!!python/name:os.system", "{}", "[]", "null", "true"),
    *("\u202e", "\x00", "\x85", "0x7fffffffffffffff", ".inf", "'" + "x" * 5000 + "'", "~"),
    *(
        "!!python/object/apply:pathlib.Path.touch [!!python/name:pathlib.Path [MARKER]]",
        "2026-01-01",
    ),
    *("[" * 3000, "{a: " * 500, "- " * 4000, "? " * 2000, "a: &x {<<: *x}", "!!binary aGk="),
)


def spoil_bytes(chance: Chance, content: bytes) -> bytes:
    """A few changes of any kind."""
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4))):
        chance.choice(_CHANGES)(chance, changed)
    return bytes(changed)


def _flip(chance: Chance, data: bytearray) -> None:
    for _ in range(chance.randint(1, 8)):
        if data:
            data[_place(chance, data)] ^= 1 << chance.randrange(8)


def _cut(chance: Chance, data: bytearray) -> None:
    del data[_place(chance, data) :]


def _leave_out(chance: Chance, data: bytearray) -> None:
    at = _place(chance, data)
    del data[at : at + chance.randint(1, 40)]


def _repeat(chance: Chance, data: bytearray) -> None:
    at = _place(chance, data)
    data[at:at] = data[at : at + chance.randint(1, 60)] * chance.choice((1, 3, 200))


def _insert(chance: Chance, data: bytearray) -> None:
    at = _place(chance, data)
    data[at:at] = chance.randbytes(chance.randint(1, 20))


def _write_number(chance: Chance, data: bytearray) -> None:
    at, order = _place(chance, data), chance.choice("<>")
    number = chance.choice((0, 1, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63, 2**64 - 1))
    wide = struct.pack(f"{order}Q", number)
    few = chance.choice((2, 4, 8))
    data[at : at + few] = wide[:few] if order == "<" else wide[-few:]


_CHANGES = (_flip, _flip, _cut, _leave_out, _repeat, _insert, _write_number, _write_number)


def _place(chance: Chance, data: bytearray) -> int:
    """Anywhere, but as often among the first bytes, where headers are."""
    return chance.randrange(max(1, min(len(data), chance.choice((16, 64, 256, 1 << 30)))))


def spoil_text(chance: Chance, content: bytes, marker: str) -> bytes:
    """Numbers, words and lines become others that nobody expects there."""
    text = content.decode()
    for _ in range(chance.choice((1, 1, 1, 3))):
        what = chance.choice((r"-?\d[\d.e+-]*", r"\w+", r"(?<=[:,\-\[]) *[^\s:,{}\[\]]+", r".*\n"))
        found = list(re.finditer(what, text)) or [re.match("", text)]
        match = chance.choice(found)
        new = chance.choice((*HUGE, *WEIRD)).replace("MARKER", marker)
        new = chance.choice((new, new, match[0] * 2, match[0] * min(3000, LONG // len(text)), ""))
        text = text[: match.start()] + new + text[match.end() :]
    return text.encode("utf-8", "surrogatepass")


def bomb(chance: Chance, ending: str) -> bytes:
    """Compressed text of 3 GB in few bytes: one line, or short ones."""
    block = chance.choice((b"\0", b"a", b"a b\tc ", "\U0001f4a3".encode())) * (1 << 21)
    packed = {
        ".gz": lambda: gzip.compress(block),
        ".xz": lambda: lzma.compress(block, preset=1),
        ".zst": lambda: zstandard.ZstdCompressor(level=1).compress(block),
    }[ending]()
    return packed * (3 * 2**30 // len(block))


def spoil_plain(chance: Chance, tree: object) -> None:
    """Replace values somewhere in nested dictionaries and lists."""
    places = list(_places(tree))
    for holder, key in chance.sample(places, min(len(places), chance.choice((1, 1, 3)))):
        holder[key] = chance.choice(PLAIN)


PLAIN = (
    *(None, True, -1, 0, 1, 7, 2**31, 2**53, 2**63, 10**30, 1.5, -0.0, float("nan"), float("inf")),
    *(
        "",
        "word",
        "12",
        "../../x",
        "/dev/zero",
        "a\0b",
        "x" * 5000,
        "F32",
        "I64",
        "BOOL",
        "F8_E5M2",
    ),
    *([], [0], [-1], ["a"], [[]], {}, {"a": 1}, {"bytes": 1}, [2**62, 4], [0, 2**63 - 1], [1] * 70),
)


def _places(tree: object) -> list[tuple[object, object]]:
    keys = tree.keys() if isinstance(tree, dict) else range(len(tree))
    found = [(tree, key) for key in keys]
    for key in keys:
        if isinstance(tree[key], dict | list):
            found += _places(tree[key])
    return found
