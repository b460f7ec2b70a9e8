"""Group lines into windows: those of a stream as they come, or those of a file by fixed rules."""

import time
from collections.abc import Iterable, Iterator
from threading import Condition, Thread

BLOCK_LINES = 5000
"""Lines of a file that are translated independently of the others; a bulk job may set it."""
_IDLE_SECONDS = 0.05  # a window ends when no line comes for so long
_LONGEST_WAIT = 0.5  # seconds after which a window ends though lines keep coming
_MAX_LINES = 10_000  # of a window; empty lines have no characters to count


def windows(lines: Iterable[str], max_characters: int) -> Iterator[list[str]]:
    """Yield ``lines`` in their order, in lists that end when no line comes for a moment.

    A thread reads one window ahead, so memory is bounded by the window and the longest line.

    Args:
        lines: Read by the thread. An exception that they raise is raised here, after the lines
            before it.
        max_characters: Size of a window, at least 1; the last line may exceed it.
    """
    buffer = _Buffer(max_characters)
    Thread(target=buffer.fill, args=(lines,), daemon=True, name="read ahead").start()
    try:
        while window := buffer.take():
            yield window
    finally:
        buffer.close()


def fixed_windows(
    lines: Iterable[str], max_characters: int, block_lines: int
) -> Iterator[list[str]]:
    """Yield ``lines`` in their order, in lists that do not depend on when the lines come.

    Args:
        lines: An exception that they raise is raised here, after the lines before it.
        max_characters: Size of a window, at least 1; one line alone may exceed it.
        block_lines: A window ends after every block of so many lines, so that the windows of a
            block do not depend on other blocks.
    """
    window: list[str] = []
    characters = 0
    try:
        for number, line in enumerate(lines):
            if window and (number % block_lines == 0 or characters + len(line) > max_characters):
                yield window
                window, characters = [], 0
            window.append(line)
            characters += len(line)
    except Exception:
        if window:
            yield window
        raise
    if window:
        yield window


class _Buffer:
    """Passes lines from the thread that reads to the one that translates."""

    def __init__(self, max_characters: int) -> None:
        self._max_characters = max_characters
        self._changed = Condition()
        self._lines: list[str] = []
        self._characters = 0
        self._ended = False
        self._failure: BaseException | None = None

    def fill(self, lines: Iterable[str]) -> None:
        """Append lines while there is space; end early once closed."""
        failure = None
        try:
            for line in lines:
                if not self._put(line):
                    return
        except BaseException as error:  # raised again by ``take``
            failure = error
        with self._changed:
            self._failure, self._ended = failure, True
            self._changed.notify_all()

    def take(self) -> list[str]:
        """Wait for lines and return all that are there; an empty list is the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._lines or self._ended)
            self._wait_for_more()
            window, self._lines, self._characters = self._lines, [], 0
            self._changed.notify_all()
            if not window and self._failure:
                raise self._failure
            return window

    def close(self) -> None:
        """Let the reading thread end at its next line."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _put(self, line: str) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._ended or not self._is_full())
            if self._ended:
                return False
            self._lines.append(line)
            self._characters += len(line)
            if len(self._lines) == 1 or self._is_full():  # ``take`` waits for these only
                self._changed.notify_all()
            return True

    def _is_full(self) -> bool:
        return self._characters >= self._max_characters or len(self._lines) >= _MAX_LINES

    def _wait_for_more(self) -> None:
        deadline = time.monotonic() + _LONGEST_WAIT
        while not self._ended and not self._is_full() and time.monotonic() < deadline:
            before = len(self._lines)
            self._changed.wait(_IDLE_SECONDS)
            if len(self._lines) == before:
                return
