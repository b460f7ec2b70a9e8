"""Text into and out of commands: standard streams, files, progress."""

import io
import os
import sys
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO, TypeVar, cast

import typer
from typing_extensions import Buffer

from seqtrans.errors import DataError

ItemT = TypeVar("ItemT")

STANDARD_INPUT = "standard input"

_BROKEN_PIPE = 141  # what a shell reports of a program that SIGPIPE ended; typer would say 1
_INTERVAL = 0.5  # seconds between two lines of progress
# Modes in which closed streams are opened on /dev/null: reading from a closed standard input and
# writing to a closed standard output fails, as for ``cat``; text for the standard error is lost.
_MODES = (os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)
_ESCAPED = "backslashreplace"


class _StandardError(io.FileIO):
    """The standard error; text that can't be written is lost, without an error."""

    def write(self, data: Buffer, /) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def prepare_streams() -> None:
    """Open the standard streams that are closed, and let those for text take any character.

    Otherwise the next file that is opened, such as a model, would get the file descriptor of the
    standard error, and messages would be written into it. Text for people is in the locale's
    encoding, with escapes for what that lacks. No command fails because its messages can't be
    written.
    """
    for number, mode in enumerate(_MODES):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # gets the lowest number that is free
            os.set_inheritable(number, True)  # noqa: FBT003
    # Python has None where a stream was closed when it started, or there is no console.
    stdin, stdout, stderr = cast("list[TextIO | None]", [sys.stdin, sys.stdout, sys.stderr])
    if stdin is None:
        sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)))
    if stdout is None:
        sys.stdout = _writer(io.FileIO(1, "w", closefd=False), None)
    elif isinstance(stdout, io.TextIOWrapper):
        stdout.reconfigure(errors=_ESCAPED)
    if stderr is None or stderr is sys.__stderr__:
        sys.stderr = _writer(_StandardError(2, "w", closefd=False), stderr and stderr.encoding)


def read_lines(path: Path | None) -> Iterator[str]:
    """Return the lines of a file, or of the standard input if ``path`` is None or ``-``."""
    from seqtrans.runtime.files.text_files import open_lines, stream_lines

    if path is not None and str(path) != "-":
        return open_lines(path)
    # Not sys.stdin: a thread that waits in it at the end would hold a lock Python then wants.
    return stream_lines(io.BufferedReader(io.FileIO(0, closefd=False)), STANDARD_INPUT)


def name_of(path: Path) -> str:
    """Return the name of a file in messages; ``-`` is the standard input."""
    return STANDARD_INPUT if str(path) == "-" else str(path)


def _is_stream(path: Path) -> bool:
    """Return whether ``path`` is a device, a named pipe or a stream such as /dev/stdout."""
    is_other = path.exists() and not path.is_file()
    return is_other or path.parent in (Path("/dev"), Path("/dev/fd"), Path("/proc/self/fd"))


@contextmanager
def open_output(path: Path | None) -> Generator[BinaryIO]:
    """Open a file that appears complete at the end or not at all; None is the standard output.

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
    """Write JSON or YAML to the standard output, as UTF-8 in every locale."""
    if not hasattr(sys.stdout, "buffer"):  # a StringIO of a program that calls ``main``
        sys.stdout.write(text)
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(_encoded(text))
    sys.stdout.buffer.flush()


def write_lines(lines: Iterable[str], file: BinaryIO) -> None:
    """Write lines as UTF-8 and flush after each, so that readers of a pipe need not wait.

    Raises:
        typer.Exit: The reader has closed the pipe, as ``head`` does.
    """
    try:
        for line in lines:
            file.write(_encoded(f"{line}\n"))
            file.flush()
    except BrokenPipeError as error:
        raise typer.Exit(_BROKEN_PIPE) from error


def with_progress(items: Iterable[ItemT], unit: str) -> Iterator[ItemT]:
    """Yield ``items`` and show their number on the standard error if that is a terminal."""
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
    """Return ``text`` as UTF-8; bytes of file names that are not UTF-8 are escaped."""
    return text.encode("utf-8", "backslashreplace")


def _writer(file: io.FileIO, encoding: str | None) -> io.TextIOWrapper:
    buffer = io.BufferedWriter(file)
    return io.TextIOWrapper(buffer, encoding, errors=_ESCAPED, line_buffering=True)
