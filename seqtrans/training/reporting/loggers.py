"""Where the numbers and the words of a run go: files, the console, a progress bar."""

import logging
import shutil
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

from seqtrans.errors import TrainingError
from seqtrans.runtime.files.strict_json import as_json

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

logger = logging.getLogger(__name__)

Format = Callable[[float], str]
COLUMNS: dict[str, Format] = {  # of a line about training, the most important first
    "epoch": lambda value: f"epoch {value + 1:.0f}",
    "loss": lambda value: f"loss {value:.3f}",
    "perplexity": lambda value: f"perplexity {value:.4g}",
    "learning_rate": lambda value: f"rate {value:.2e}",
    "data_wait_share": lambda value: f"waits {value:.0%}",
    "gradient_norm": lambda value: f"gradient {value:.3g}",
    "seconds_left": lambda value: f"{duration(value)} left",
    "memory_mb": lambda value: f"{value:,.0f} MB",
    "padding_share": lambda value: f"padding {value:.0%}" if value else "",  # images have none
}
FIRST = 3  # columns before those that only the task knows, and the speed
SPEED = "targets_per_second"
GAP = "  "
HIDDEN = frozenset({"nll", "seconds"})


class JsonLinesLogger:
    """Appends one JSON object per call to a file, null for NaN. See ``MetricsLogger``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """See ``MetricsLogger.log``; the line is in the file when this returns."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(as_json({"step": step, **metrics}) + "\n")


class ConsoleLogger:
    """Says one line per call and, on a terminal, moves a progress bar.

    Lines go through ``logging``, hence also wherever ``log_to_stderr`` sends them. Use it as a
    context, so that the bar disappears at the end.

    Args:
        unit: What the task learns from; see ``Task.unit``.
    """

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._progress: Progress | None = None
        self._bar: TaskID | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._progress = _progress()
            self._bar = self._progress.add_task("training", total=None, left="")
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._progress:
            self._progress.stop()
            self._progress = None

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """See ``MetricsLogger.log``."""
        parts = describe(step, metrics, self._unit)
        logger.info("%s", GAP.join(parts), extra={"parts": parts})
        left = metrics.get("train/seconds_left")
        if self._progress and self._bar is not None and left is not None:
            done = metrics["train/seconds"]
            self._progress.update(
                self._bar, completed=done, total=done + left, left=f"{duration(left)} left"
            )


def describe(step: int, metrics: Mapping[str, float], unit: str) -> list[str]:
    """Return the parts of a line about a step, the most important first.

    Args:
        step: Optimizer step.
        metrics: See ``MetricsLogger.log``.
        unit: See ``Task.unit``.
    """
    train = _under("train/", metrics)
    known = [show(train[name]) if name in train else "" for name, show in COLUMNS.items()]
    unknown = train.keys() - COLUMNS.keys() - HIDDEN - {SPEED}
    others = [f"{name} {train[name]:.4g}" for name in sorted(unknown)]
    speed = [f"{train[SPEED]:,.0f} {unit}/s"] if SPEED in train else []
    measured = [f"{name} {value:.4g}" for name, value in _under("valid/", metrics).items()]
    validation = "validation: " + ", ".join(measured) if measured else ""
    parts = (f"step {step:,}", *known[:FIRST], *others, *speed, *known[FIRST:], validation)
    return [part for part in parts if part]


def fitted(parts: Sequence[str], width: int) -> str:
    """Return as many parts as fit into ``width`` characters, at least the first two."""
    count = len(parts)
    while count > 2 and len(GAP.join(parts[:count])) > width:
        count -= 1
    return GAP.join(parts[:count])


def duration(seconds: float) -> str:
    """Return hours, minutes and seconds, as ``1:02:03`` or ``2:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def log_to_stderr(log: Path | None = None) -> Generator[None]:
    """Send log messages to stderr and, with the time, to a file.

    Raises:
        OSError: The file can't be written.
    """
    handlers: list[logging.Handler] = [_Stderr()]
    if log:
        handlers.append(_LogFile(log))
    root = logging.getLogger("seqtrans")
    level, propagates = root.level, root.propagate
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(logging.INFO)
    root.propagate = False
    try:
        yield
    finally:
        root.propagate = propagates
        root.setLevel(level)
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()


@contextmanager
def log_errors_only() -> Generator[None]:
    """Log nothing but errors: another process logs the same."""
    root = logging.getLogger("seqtrans")
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)


class _Stderr(logging.StreamHandler[Any]):
    """Writes to what ``sys.stderr`` is at the time: a progress bar takes its place.

    On a terminal, of a line of many numbers what does not fit is left out; the log has it all.
    """

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    def format(self, record: logging.LogRecord) -> str:
        parts: Sequence[str] | None = getattr(record, "parts", None)
        if parts and self.stream.isatty():
            return fitted(parts, shutil.get_terminal_size().columns)
        return super().format(record)

    @property
    def stream(self) -> TextIO:  # pyright: ignore[reportIncompatibleVariableOverride]
        return sys.stderr


class _LogFile(logging.Handler):
    """A file that holds what was said as long as there is room for it.

    Where there isn't, the metrics and the checkpoints, which matter, complain themselves.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        try:
            path.open("a", encoding="utf-8").close()  # said now, if it can't be written
        except OSError as error:
            raise TrainingError(f"{path} can't be written: {error.strerror}") from error
        self._path = path
        self.setFormatter(logging.Formatter("%(asctime)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        escaped = "backslashreplace"  # names of files may be no UTF-8
        with suppress(OSError), self._path.open("a", encoding="utf-8", errors=escaped) as file:
            file.write(self.format(record) + "\n")


def _under(prefix: str, metrics: Mapping[str, float]) -> dict[str, float]:
    return {k.removeprefix(prefix): v for k, v in metrics.items() if k.startswith(prefix)}


def _progress() -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[left]}"),
    )
    # What is written to stderr meanwhile appears above the bar.
    return Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=2)
