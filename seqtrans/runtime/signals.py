"""Handle Ctrl-C and SIGTERM as requests to stop, not as crashes."""

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Abandoned(Exception):  # noqa: N818 - nothing went wrong
    """Raised by a signal within ``Interruption.abandonable``."""


class Interruption:
    """Records the first SIGINT or SIGTERM; a second SIGINT raises ``KeyboardInterrupt``.

    Use it as a context manager. Outside the main thread, where Python allows no handlers, it
    records nothing.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._can_abandon = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @contextmanager
    def abandonable(self, *, if_: bool = True) -> Generator[None]:
        """Let a signal end this block at once, with ``Abandoned``; it must have no side effects."""
        self._can_abandon = if_
        try:
            if if_ and self.signal is not None:
                raise Abandoned
            yield
        finally:
            self._can_abandon = False

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self.signal is not None:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        self.signal = signal.Signals(number)
        if self._can_abandon:  # only the first signal: cleanup must not be interrupted
            raise Abandoned
