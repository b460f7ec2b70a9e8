"""What helps where text is not UTF-8: to convert all of it, or to mend what is damaged."""

import re

_HIGH = re.compile(rb"[\x80-\xff]+")
_FEW = 0.02  # share of lines that are damaged where the others are not
_LINES = 20  # of fewer it is no share
_MIXED = 0.05  # share of lines in UTF-8 among all that are not ASCII; fewer may be by chance
_SHORT = 2.5  # bytes above 0x7f in a row, on average; words in Russian or Chinese have more
_LETTERS_ALONE = 0.5  # share of bytes above 0x7f that have none beside them, in western languages
_EUROPEAN = {"windows-1252": "western Europe", "windows-1250": "central Europe"}
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
    total = len(lines) + lines_before
    is_utf8 = utf8_before or good > max(1, _MIXED * len(bad))
    if is_utf8 and len(bad) > max(1, _FEW * total):
        return (
            "some lines are UTF-8 and others are not, and one conversion of all would damage the "
            "first: convert those others alone, or remove them"
        )
    if is_utf8 or good > len(bad):
        return (
            "the text around it is UTF-8, so this line is damaged: mend or remove it, or drop the "
            "bytes that are wrong with iconv -c -f utf-8 -t utf-8"
        )
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
