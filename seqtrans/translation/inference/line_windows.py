"""Lines in windows: what is there of a stream, without waiting, or always the same of a file."""

import time
from collections.abc import Iterable, Iterator
from threading import Condition, Thread

BLOCK_LINES = 5000
"""Lines of a file that are translated as they would be alone, unless a bulk job says otherwise."""
_PATIENCE = 0.05  # seconds without a new line after which those that are there are taken
_LONGEST_WAIT = 0.5  # seconds after which they are taken though more keep coming
_MAX_LINES = 10_000  # in a window; empty lines have no characters to count


def windows(lines: Iterable[str], max_characters: int) -> Iterator[list[str]]:
    """``lines`` in their order, in lists as large as is possible at once.

    Another thread reads. Lines that come fast fill a window; from a slow pipe a window is what
    has come. At most a window is read ahead, so memory is bounded by the window and the longest
    line.

    Args:
        lines: Read by one other thread only; what it raises is raised here, after the lines
            before it.
        max_characters: Size of a window, at least 1; its last line may go beyond.
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
    """``lines`` in their order, in lists that depend on them alone, not on when they come.

    Args:
        lines: What they raise is raised here, after the lines before it.
        max_characters: Size of a window, at least 1; one line alone may go beyond.
        block_lines: A window ends with every such block of lines, so that a block has the windows
            that it would have alone.
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
    """Lines between the thread that reads and the one that works."""

    def __init__(self, max_characters: int) -> None:
        self._max_characters = max_characters
        self._changed = Condition()
        self._lines: list[str] = []
        self._characters = 0
        self._ended = False
        self._failure: BaseException | None = None

    def fill(self, lines: Iterable[str]) -> None:
        """Put all lines in as there is room; ends early once closed."""
        failure = None
        try:
            for line in lines:
                if not self._put(line):
                    return
        except BaseException as error:  # raised again in the thread that takes
            failure = error
        with self._changed:
            self._failure, self._ended = failure, True
            self._changed.notify_all()

    def take(self) -> list[str]:
        """All that is there, once there is something; an empty list is the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._lines or self._ended)
            self._wait_for_more()
            window, self._lines, self._characters = self._lines, [], 0
            self._changed.notify_all()
            if not window and self._failure:
                raise self._failure
            return window

    def close(self) -> None:
        """Nobody takes any more: let the reading thread end at its next line."""
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
            if len(self._lines) == 1 or self._is_full():  # nothing else is waited for
                self._changed.notify_all()
            return True

    def _is_full(self) -> bool:
        return self._characters >= self._max_characters or len(self._lines) >= _MAX_LINES

    def _wait_for_more(self) -> None:
        deadline = time.monotonic() + _LONGEST_WAIT
        while not self._ended and not self._is_full() and time.monotonic() < deadline:
            before = len(self._lines)
            self._changed.wait(_PATIENCE)
            if len(self._lines) == before:
                return
