"""Advice for text that is not UTF-8: convert the whole file, or repair damaged lines."""

import re

_HIGH = re.compile(rb"[\x80-\xff]+")
_FEW = 0.02  # at most this share of lines is bad: these are damaged and the others are right
_LINES = 20  # with fewer lines ``_FEW`` says nothing
_MIXED = 0.05  # share of UTF-8 lines among those that are not ASCII; fewer may be by chance
_SHORT = 2.5  # mean run of bytes above 0x7f; Russian or Chinese words have longer ones
_LETTERS_ALONE = 0.5  # share of bytes above 0x7f without such a neighbor, in western languages
_EUROPEAN = {"windows-1252": "western Europe", "windows-1250": "central Europe"}
_OTHERS = {  # names that both iconv and Python know
    "gb18030": "Chinese",
    "shift_jis": "Japanese",
    "euc-kr": "Korean",
    "koi8-r": "Russian",
    "windows-1251": "Russian",
}


def advice(text: bytes, lines_before: int = 0, *, utf8_before: bool = False) -> str:
    """Return advice on text that is not UTF-8, as far as the text allows a guess.

    Args:
        text: Complete lines, some of which are not UTF-8; more lines make better advice.
        lines_before: Number of lines before it that are UTF-8 or ASCII.
        utf8_before: Whether a line before it was UTF-8 and not ASCII.
    """
    lines = text.split(b"\n")
    bad = [line for line in lines if not _is_utf8(line)]
    good = sum(not line.isascii() for line in lines) - len(bad)
    total = len(lines) + lines_before
    is_utf8 = utf8_before or good > max(1, _MIXED * len(bad))
    if is_utf8 and len(bad) > max(1, _FEW * total):
        return (
            "some lines are UTF-8 and others are not, and converting the whole file would damage "
            "the former: convert only the others, or remove them"
        )
    if is_utf8 or good > len(bad):
        return (
            "the text around it is UTF-8, so this line is damaged: repair or remove it, or drop "
            "the wrong bytes with iconv -c -f utf-8 -t utf-8"
        )
    if total >= _LINES and len(bad) <= _FEW * total:
        return (
            "repair or remove this line if it is damaged; if it is in another encoding, convert "
            "the file with iconv -f ENCODING -t utf-8"
        )
    return f"convert it from its encoding, for instance {_examples(b' '.join(bad))}"


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _examples(bad: bytes) -> str:
    """Suggest commands for encodings that the bytes may be in."""
    runs = _HIGH.findall(bad)
    alone = sum(len(run) == 1 for run in runs)
    if alone >= _LETTERS_ALONE * sum(map(len, runs)):
        has_quotes = any(0x80 <= byte < 0xA0 for run in runs for byte in run)
        return f"with iconv -f {'windows-1252' if has_quotes else 'latin1'} -t utf-8"
    is_european = sum(map(len, runs)) < _SHORT * len(runs)
    names = {**(_EUROPEAN if is_european else {}), **_OTHERS}
    may_be = [f"{name} ({use})" for name, use in names.items() if _decodes(bad, name)]
    if not may_be:
        return "with iconv -f ENCODING -t utf-8"
    return f"with iconv -f ENCODING -t utf-8, where ENCODING may be {' or '.join(may_be)}"


def _decodes(text: bytes, encoding: str) -> bool:
    try:
        text.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
