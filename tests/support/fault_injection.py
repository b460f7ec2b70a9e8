"""Calls that touch files, counted: at any of them a process dies, or the system refuses."""

import builtins
import io
import os
import signal
import sys
import traceback
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal
from unittest import mock

from safetensors.torch import save

from seqtrans.errors import SeqtransError
from seqtrans.training.checkpoints import format as checkpoint

Moment = Literal["before", "amid", "after"]
CALLS = (
    *("fsync", "rename", "replace", "rmdir", "unlink", "remove", "mkdir", "link", "truncate"),
    "open",
)


class Points:
    """Counts moments around calls, and does a deed at one.

    Args:
        at: Number of the moment, from 1; 0: never.
        deed: What to do there.
        lasts: Whether to do it at all moments after it, too.
        moments: Those that count.
    """

    def __init__(
        self,
        at: int,
        deed: Callable[[], None],
        *,
        lasts: bool = False,
        moments: tuple[Moment, ...] = ("before", "amid", "after"),
    ) -> None:
        self.at, self.deed, self.lasts, self.moments = at, deed, lasts, moments
        self.count = 0

    def meet(self, moment: Moment) -> None:
        """One moment."""
        if moment in self.moments:
            self.count += 1
            if self.count == self.at or (self.lasts and 0 < self.at < self.count):
                self.deed()


def die() -> None:
    """End this process as a power cut would: nothing that waits in it is written."""
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(number: int) -> Callable[[], None]:
    """Raises what the system would say."""

    def deed() -> None:
        raise OSError(number, os.strerror(number))

    return deed


@contextmanager
def counted(points: Points) -> Generator[None]:
    """Within, all calls that change files are counted, those of safetensors as well."""

    def around(real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            points.meet("before")
            result = real(*args, **kwargs)
            points.meet("after")
            return result

        return call

    opener = _opener(points, io.open)
    with ExitStack() as stack:
        for name in CALLS:
            stack.enter_context(mock.patch.object(os, name, around(getattr(os, name))))
        for module in (io, builtins):
            stack.enter_context(mock.patch.object(module, "open", opener))
        stack.enter_context(mock.patch.object(checkpoint, "save_file", _save(opener)))
        yield


def _save(opener: Callable[..., io.IOBase]) -> Callable[..., None]:
    """As safetensors writes files, but where it can be seen."""

    def save_file(tensors: dict, file: Path) -> None:
        with opener(file, "wb") as opened:
            opened.write(save(tensors))

    return save_file


def _opener(points: Points, real: Callable[..., io.IOBase]) -> Callable[..., io.IOBase]:
    class Counted(io.FileIO):
        def write(self, data: bytes) -> int:
            view = memoryview(data).cast("B")
            points.meet("before")
            written = super().write(view[: len(view) // 2])
            points.meet("amid")
            written += super().write(view[written:])
            points.meet("after")
            return written

    def call(file: object, mode: str = "r", *args: object, **kwargs: object) -> io.IOBase:
        if not set(mode) & set("wax+"):
            return real(file, mode, *args, **kwargs)
        points.meet("before")
        raw = Counted(file, mode.replace("b", "").replace("t", ""))
        points.meet("after")
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        if "b" in mode:
            return buffered
        return io.TextIOWrapper(buffered, encoding="utf-8", newline="")

    return call


USER_ERROR = 2


def exit_code(work: Callable[[], None], said: Path) -> int:
    """What a fork of this process ends with; what it had to say is in a file."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = 1
    try:
        sys.stderr = said.open("w")
        work()
        code = 0
    except SeqtransError as error:
        said.write_text(str(error))
        code = USER_ERROR if str(error).count("\n") == 0 else 1
    except BaseException:
        said.write_text(traceback.format_exc())
    finally:
        os._exit(code)
