"""The largest size that fits into memory, found by trying."""

import os
import resource
from collections.abc import Callable
from pathlib import Path

import torch

from seqtrans.training.window import peak_memory

_LEFT_FREE = 0.8  # of what is available on a CPU, the share that is used
_GROWTH = 1.2  # memory may grow so much faster than the size
_NO_LIMIT = 1 << 60  # what version 1 of control groups says for none is about 2 ** 63
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
    foresight = _Foresight(device, reserved)
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


def available_memory() -> int:
    """Bytes that this process can still take: of the machine, its control group and its limits.

    Several processes that one command started here share them alike.
    """
    used = int(_read("/proc/self/statm", "0").split()[0]) * _PAGE
    limits = [resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
    found = [limit - used for limit in limits if limit != resource.RLIM_INFINITY]
    lines = [line.split() for line in _read("/proc/meminfo", "").splitlines()]
    found += [int(line[1]) * 1024 for line in lines if line[0] == "MemAvailable:"]
    cap = memory_cap()
    if cap is not None:
        found.append((cap - _resident()) * _processes())
    return max(0, min(found, default=1 << 62)) // _processes()


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


def heed_memory_cap() -> None:
    """Let an allocation fail, which can be answered, where the kernel would kill.

    Nothing where a GPU is used, whose driver maps far more than it takes.
    """
    if torch.cuda.is_available():
        return
    cap = memory_cap()
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    unlimited = resource.RLIM_INFINITY
    if cap is not None and soft == unlimited and (hard == unlimited or cap < hard):
        resource.setrlimit(resource.RLIMIT_DATA, (cap, hard))


def _processes() -> int:
    """Of those that train together, how many are on this machine."""
    return max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def _resident() -> int:
    return int(_read("/proc/self/statm", "0 0").split()[1]) * _PAGE


class _Foresight:
    """What sizes took so far, and so what others will."""

    def __init__(self, device: torch.device, reserved: int) -> None:
        self._matters = device.type == "cpu"
        self._room = _LEFT_FREE * (available_memory() - reserved) if self._matters else 0.0
        self._before = peak_memory()
        self._per_size = 0.0

    def allows(self, size: int) -> bool:
        return not self._matters or self._per_size * size * _GROWTH <= self._room

    def learn(self, size: int) -> None:
        self._per_size = (peak_memory() - self._before) / size


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
