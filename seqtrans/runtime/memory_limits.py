"""The largest size that fits into memory, found by trying."""

import os
import re
import resource
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch

from seqtrans.runtime.out_of_memory import release

_LEFT_FREE = 0.8  # of what is available on a CPU, the share that is used
_GROWTH = 1.2  # memory may grow so much faster than the size
_NO_LIMIT = 1 << 60  # what version 1 of control groups says for none is about 2 ** 63
_earlier_peaks = [0]  # the most before the kernel was told to forget it
_PAGE = resource.getpagesize()


def largest_that_fits(
    fits: Callable[[int], bool], smallest: int, most: int, device: torch.device, reserved: int = 0
) -> int:
    """Double a size until it does not fit, then try between; an eighth less than what fits.

    On a GPU what is too much fails and costs nothing. On a CPU it may fail, where memory is
    capped, or bring the machine to its knees: so what a size needs is foreseen from what half of
    it took, and not tried where there is less than that.

    Args:
        fits: Tries a size.
        smallest: The answer where nothing fits.
        most: The largest answer; it is given as it is where it fits.
        device: Where it is tried.
        reserved: Bytes that will be needed besides.
    """
    foresight = _MemoryEstimator(device, reserved)
    found = 0
    for size in _doubled(smallest, most):
        if not (foresight.allows(size) and fits(size)):
            break
        foresight.learn(size)
        found = size
    if found >= most:
        return found
    for size in (found * 7 // 4, found * 3 // 2, found * 5 // 4):
        if found < size < most and foresight.allows(size) and fits(size):
            found = size
            break
    return max(smallest, found - found // 8)


def peak_memory() -> int:
    """The most bytes so far: of the CUDA device where one is used, else resident in this process.

    On Linux ``ru_maxrss`` is also that of the process that started this one, so a notebook's
    gigabytes would pass for the training's.
    """
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    return max(_earlier_peaks[-1], recent_peak())


def restart_peak() -> None:
    """Let ``recent_peak`` begin anew; ``peak_memory`` stays that of the whole process.

    Where the system can't do that, nothing happens.
    """
    _earlier_peaks.append(max(_earlier_peaks.pop(), recent_peak()))
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def recent_peak() -> int:
    """The most bytes resident in this process, since ``restart_peak`` where that could be done."""
    with suppress(OSError):
        found = re.search(rb"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_bytes())
        if found:
            return int(found[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def available_memory() -> int:
    """Bytes that this process can still take: of the machine, its control group and its limits.

    Several processes that one command started here share them alike.
    """
    pages = _pages()
    taken = {resource.RLIMIT_AS: pages.all, resource.RLIMIT_DATA: pages.data}
    limits = {kind: resource.getrlimit(kind)[0] for kind in taken}  # of each process alone
    found = [n - taken[kind] for kind, n in limits.items() if n != resource.RLIM_INFINITY]
    lines = [line.split() for line in _read("/proc/meminfo", "").splitlines()]
    found += [int(n[1]) * 1024 // _processes() for n in lines if n[0] == "MemAvailable:"]
    cap = memory_cap()
    if cap is not None:
        found.append(cap - pages.resident)
    return max(0, min(found, default=1 << 62))


def memory_cap() -> int | None:
    """Bytes that this process's control group allows it, as in a container; None: no limit.

    Beyond them the kernel kills.
    """
    group = Path("/sys/fs/cgroup", *Path(_group()).parts[1:])
    for file in (group / "memory.max", Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        text = _read(file, "").strip()
        if text.isdecimal() and int(text) < _NO_LIMIT:
            return int(text) // _processes()
    return None


def share_of_cap(workers: int, starters: int = 1) -> int | None:
    """Bytes that a worker may take, of those which processes like this one start; None: no limit.

    Args:
        workers: How many there are on this machine.
        starters: How many processes like this one, whose own memory is not to be had.
    """
    cap, pages = memory_cap(), _pages()
    if cap is None:
        return None
    own = pages.resident - pages.shared  # files that are mapped can be dropped and read again
    return max(0, cap - own * starters) // workers


def limit_memory_to_cgroup(share: int | None = None) -> None:
    """Let an allocation fail, which can be answered, where the kernel would kill.

    It is for commands, before ``prepare_memory`` and all else that takes memory: a library sets
    no limits on the process it is in. Nothing where a GPU is used, whose driver maps far more than
    it takes. A lower limit stays.

    Args:
        share: Bytes; by default what this process's control group allows it.
    """
    if torch.cuda.is_available():
        return
    cap = memory_cap() if share is None else share
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if cap is not None and (soft == resource.RLIM_INFINITY or cap < soft):
        resource.setrlimit(resource.RLIMIT_DATA, (cap, hard))


def _processes() -> int:
    """Of those that train together, how many are on this machine."""
    return max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


class _Pages(NamedTuple):
    """What this process has, in bytes."""

    all: int  # addresses, of files too
    resident: int
    shared: int  # resident, of files
    data: int  # addresses that RLIMIT_DATA counts, and stacks


def _pages() -> _Pages:
    found = [int(n) * _PAGE for n in _read("/proc/self/statm", "0 0 0 0 0 0").split()]
    return _Pages(all=found[0], resident=found[1], shared=found[2], data=found[5])


class _MemoryEstimator:
    """What sizes took so far, and so what others will.

    It is measured from what is held now: below an earlier peak, as of the training of a
    vocabulary, every size would look free, and so would twice as much.
    """

    def __init__(self, device: torch.device, reserved: int) -> None:
        self._matters = device.type == "cpu"
        if self._matters:
            release()  # or a size would take what is kept of earlier ones, unnoticed
            restart_peak()
        self._room = _LEFT_FREE * (available_memory() - reserved) if self._matters else 0.0
        self._before = recent_peak()
        self._per_size = 0.0

    def allows(self, size: int) -> bool:
        return not self._matters or self._per_size * size * _GROWTH <= self._room

    def learn(self, size: int) -> None:
        self._per_size = (recent_peak() - self._before) / size


def _doubled(smallest: int, most: int) -> list[int]:
    sizes = [smallest]
    while sizes[-1] < most:
        sizes.append(min(2 * sizes[-1], most))
    return sizes


def _group() -> str:
    """This process's control group, of version 2 of the interface."""
    lines = _read("/proc/self/cgroup", "").splitlines()
    return next((line[3:] for line in lines if line.startswith("0::")), "/")


def _read(path: str | Path, otherwise: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return otherwise
