"""What helps where text is not UTF-8: to convert all of it, or to mend what is damaged."""

import re

_HIGH = re.compile(rb"[\x80-\xff]+")
_FEW = 0.02  # share of lines that are damaged where the others are not
_LINES = 20  # of fewer it is no share
_LETTERS_ALONE = 0.5  # share of bytes above 0x7f that have none beside them, in western languages
_OTHERS = {  # by their names for iconv and Python
    "gb18030": "Chinese",
    "shift_jis": "Japanese",
    "euc-kr": "Korean",
    "koi8-r": "Russian",
    "windows-1251": "Russian",
}


def advice(text: bytes, lines_before: int = 0, *, utf8_before: bool = False) -> str:
    """What to do with text that is not UTF-8, as far as it shows.

    Args:
        text: Whole lines, some of which are not UTF-8; the more, the better the advice.
        lines_before: How many lines before it are UTF-8, perhaps only ASCII.
        utf8_before: Whether something before it was UTF-8, and not only ASCII.
    """
    lines = text.split(b"\n")
    bad = [line for line in lines if not _is_utf8(line)]
    good = sum(not line.isascii() for line in lines) - len(bad)
    if utf8_before or good > len(bad):
        return (
            "the text around it is UTF-8, so this line is damaged: mend or remove it, or drop the "
            "bytes that are wrong with iconv -c -f utf-8 -t utf-8"
        )
    total = len(lines) + lines_before
    if total >= _LINES and len(bad) <= _FEW * total:
        return (
            "mend or remove this line if it is damaged; if it is in another encoding, convert the "
            "file from that one with iconv -f ENCODING -t utf-8"
        )
    return f"convert it from its encoding, for instance {_examples(b' '.join(bad))}"


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _examples(bad: bytes) -> str:
    """Encodings that the bytes may be in."""
    runs = _HIGH.findall(bad)
    alone = sum(len(run) == 1 for run in runs)
    if alone >= _LETTERS_ALONE * sum(map(len, runs)):
        has_quotes = any(0x80 <= byte < 0xA0 for run in runs for byte in run)
        return f"with iconv -f {'windows-1252' if has_quotes else 'latin1'} -t utf-8"
    may_be = [f"{name} ({use})" for name, use in _OTHERS.items() if _decodes(bad, name)]
    if not may_be:
        return "with iconv -f ENCODING -t utf-8"
    return f"with iconv -f ENCODING -t utf-8, where ENCODING may be {' or '.join(may_be)}"


def _decodes(text: bytes, encoding: str) -> bool:
    try:
        text.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
