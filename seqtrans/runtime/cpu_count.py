"""The processor cores that this process may use."""

import os


def usable_cores() -> int:
    """How many there are; fewer than the machine has where it is bound to some, as by taskset.

    A container's limit on processor time does not count: it is no number of cores.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
