"""The standard streams as every command needs them: open, and able to print any text."""

import io
import os
import sys
from typing import TextIO, cast

from typing_extensions import Buffer

# For what stands for a closed one: reading from it and writing to it fails, as ``cat`` finds;
# what is said to a closed standard error is lost.
_MODES = (os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)
_ESCAPED = "backslashreplace"


class _Talk(io.FileIO):
    """The standard error; where it can't be written, what was said is lost and nothing else."""

    def write(self, data: Buffer, /) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def prepare_streams() -> None:
    """Open the standard streams that are closed, and let those for text take any character.

    Else the next file that is opened, of a model for instance, would get the number of the
    standard error, and what is said would go there. Text for people is in the locale's encoding,
    with escapes for what that lacks. No command fails because nobody can hear it.
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
        sys.stderr = _writer(_Talk(2, "w", closefd=False), stderr and stderr.encoding)


def _writer(file: io.FileIO, encoding: str | None) -> io.TextIOWrapper:
    buffer = io.BufferedWriter(file)
    return io.TextIOWrapper(buffer, encoding, errors=_ESCAPED, line_buffering=True)
