"""Measure what a test costs in processor time, which busy neighbors hardly change."""

import os
import resource
import time
from contextlib import suppress
from pathlib import Path

TICK = 1 / os.sysconf("SC_CLK_TCK")
FIXED_WORK = 0.25  # about what ``_fixed_work`` takes on an AMD Zen 3; 0.135 on a Zen 4


def cpu_seconds() -> float:
    """Return the seconds that this process and all that it started have computed until now."""
    own, ended = (
        resource.getrusage(resource.RUSAGE_SELF),
        resource.getrusage(resource.RUSAGE_CHILDREN),
    )
    spent = own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime
    return spent + sum(_of_process(pid) for pid in descendants(os.getpid()))


def slowness() -> float:
    """Return how much longer than on a Zen 3 fixed work takes here and now; at least 1."""
    began = time.process_time()
    _fixed_work()
    return max(1.0, (time.process_time() - began) / FIXED_WORK)


def descendants(pid: int) -> list[int]:
    """Return the ids of the running processes below this one; none where there is no /proc."""
    children: list[str] = []
    with suppress(OSError):
        for path in Path(f"/proc/{pid}/task").glob("*/children"):
            children += path.read_text().split()
    return [each for child in map(int, children) for each in (child, *descendants(child))]


def _of_process(pid: int) -> float:
    """Return the seconds of a process and of those of its children that ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) * TICK


def _fixed_work() -> int:
    return sum(number * number % 7 for number in range(2_500_000))
