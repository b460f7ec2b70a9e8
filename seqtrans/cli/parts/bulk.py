"""A bulk job on the command line: how far it is, how it ends, how it goes on."""

import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from seqtrans.errors import SeqtransError

if TYPE_CHECKING:
    from seqtrans.translation.bulk import Means, Progress, Work

_ON_TERMINAL, _IN_LOG = 0.5, 60.0  # seconds between two lines of progress


def translate_in_bulk(work: "Work", output: Path | None, means: "Means") -> None:
    """Run a job to its end, or until Ctrl-C or SIGTERM.

    Raises:
        SeqtransError: There is no folder to write to, or see ``translate_files``.
        typer.Exit: It was interrupted.
    """
    from seqtrans.runtime.signals import Abandoned, Interruption
    from seqtrans.translation.bulk import translate_files

    if output is None or (output.exists() and not output.is_dir()):
        named = "" if output is None else f", which {output} is not"
        raise SeqtransError(f"a bulk job writes several files: give --output a folder{named}")
    report = _ProgressReport(output)
    with Interruption() as interruption:
        try:
            # What is lost is translated again; nothing that is done is half done.
            with interruption.abandonable(), closing(translate_files(work, output, means)) as steps:
                for progress in steps:
                    report.update(progress)
        except Abandoned:
            pass
    if interruption.signal is not None:
        report.say("stopped; the same command goes on")
        raise typer.Exit(128 + interruption.signal)
    report.conclude()


class _ProgressReport:
    """Writes the progress to the standard error: often on a terminal, rarely in a log."""

    def __init__(self, output: Path) -> None:
        self._output = output
        self._is_terminal = sys.stderr.isatty()
        self._interval = _ON_TERMINAL if self._is_terminal else _IN_LOG
        self._started = self._shown = time.monotonic()
        self._last: Progress

    def update(self, progress: "Progress") -> None:
        is_first = not hasattr(self, "_last")
        self._last = progress
        if is_first:  # cutting files into shards is done
            self._started = time.monotonic()
            if progress.before:
                self.say(f"{progress.before:,} of {progress.total:,} lines are done from before")
            return
        now = time.monotonic()
        if now - self._shown < self._interval:
            return
        self._shown = now
        rate = (progress.done - progress.before) / (now - self._started)
        left = (progress.total - progress.done) / rate
        line = f"{progress.done:,} of {progress.total:,} lines, {rate:,.1f}/s, {_clock(left)} left"
        if self._is_terminal:
            sys.stderr.write(f"\r{line} ")
            sys.stderr.flush()
        else:
            self.say(line)

    def conclude(self) -> None:
        progress, seconds = self._last, time.monotonic() - self._started
        now = progress.done - progress.before
        if not now and progress.total:
            self.say(f"{self._output}: done already")
            return
        files = f"{progress.files} file{'s' if progress.files != 1 else ''}"
        self.say(f"{now:,} lines in {seconds:,.1f} s; {files} in {self._output}")

    def say(self, text: str) -> None:
        sys.stderr.write(f"\r{text}\n" if self._is_terminal else f"{text}\n")
        sys.stderr.flush()


def _clock(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60}:{minutes % 60:02} h"
