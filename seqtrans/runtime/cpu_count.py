"""The processor cores that this process may use."""

import os


def usable_cores() -> int:
    """Return the number of cores; fewer than the machine has if the process is bound (taskset).

    A container's limit on processor time is ignored.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
