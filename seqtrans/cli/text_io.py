"""Where commands that go line by line read from, write to, and say how far they are."""

import io
import sys
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar

import typer

from seqtrans.errors import DataError

ItemT = TypeVar("ItemT")

STANDARD_INPUT = "standard input"

_BROKEN_PIPE = 141  # what a shell reports of a program that SIGPIPE ended; typer would say 1
_INTERVAL = 0.5  # seconds between two lines of progress


def read_lines(path: Path | None) -> Iterator[str]:
    """Lines of a file, or of the standard input if it is None or ``-``."""
    from seqtrans.runtime.files.text_files import open_lines, stream_lines

    if path is not None and str(path) != "-":
        return open_lines(path)
    # Not sys.stdin: a thread that waits in it at the end would hold a lock Python then wants.
    return stream_lines(io.BufferedReader(io.FileIO(0, closefd=False)), STANDARD_INPUT)


def name_of(path: Path) -> str:
    """What messages call a file, or the standard input if it is ``-``."""
    return STANDARD_INPUT if str(path) == "-" else str(path)


def _is_stream(path: Path) -> bool:
    """Whether it is a device or a named pipe, or leads to a stream, as /dev/stdout does."""
    is_other = path.exists() and not path.is_file()
    return is_other or path.parent in (Path("/dev"), Path("/dev/fd"), Path("/proc/self/fd"))


@contextmanager
def open_output(path: Path | None) -> Generator[BinaryIO]:
    """A file that appears whole at the end or not at all; the standard output if it is None.

    Raises:
        DataError: The file can't be written, or its name says that it is compressed.
    """
    from seqtrans.runtime.files.atomic_files import open_aside
    from seqtrans.runtime.files.file_types import COMPRESSED

    if path is None:
        yield sys.stdout.buffer
        return
    if path.suffix.lower() in COMPRESSED:
        raise DataError(
            f"{path}: output is not compressed: leave {path.suffix} away, or -o and use a pipe"
        )
    if not path.parent.is_dir():
        raise DataError(f"{path}: can't be written: there is no folder {path.parent}")
    try:
        if _is_stream(path):
            with path.open("ab") as file:
                yield file
        else:
            with open_aside(path) as file:
                yield file
    except OSError as error:
        raise DataError(f"{path}: can't be written: {error.strerror or error}") from error


def print_data(text: str) -> None:
    """Write what programs read, JSON or YAML, to the standard output: UTF-8 in every locale."""
    if not hasattr(sys.stdout, "buffer"):  # a StringIO of a program that calls ``main``
        sys.stdout.write(text)
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(_encoded(text))
    sys.stdout.buffer.flush()


def write_lines(lines: Iterable[str], file: BinaryIO) -> None:
    """Write lines as UTF-8, each at once: whoever reads a pipe should not wait for a block.

    Raises:
        typer.Exit: Whoever read has left, as ``head`` does.
    """
    try:
        for line in lines:
            file.write(_encoded(f"{line}\n"))
            file.flush()
    except BrokenPipeError as error:
        raise typer.Exit(_BROKEN_PIPE) from error


def with_progress(items: Iterable[ItemT], unit: str) -> Iterator[ItemT]:
    """``items``, counted on the standard error if that is a terminal."""
    if not sys.stderr.isatty():
        yield from items
        return
    started = shown = time.monotonic()
    count = 0
    for count, item in enumerate(items, start=1):
        yield item
        if (now := time.monotonic()) - shown >= _INTERVAL:
            shown = now
            sys.stderr.write(f"\r{count:,} {unit}, {count / (now - started):,.1f}/s ")
            sys.stderr.flush()
    seconds = time.monotonic() - started
    sys.stderr.write(f"\r{count:,} {unit} in {seconds:,.1f} s\n")


def _encoded(text: str) -> bytes:
    """UTF-8; of names of files that are not, the bytes are escaped."""
    return text.encode("utf-8", "backslashreplace")
