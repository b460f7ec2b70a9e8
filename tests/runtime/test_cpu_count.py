"""Cores that a process is bound to."""

import os
import subprocess
import sys

import pytest

COUNT = """
import os
from seqtrans.runtime.cpu_count import usable_cores
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
print(usable_cores())
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes can't be bound here")
def test_a_process_that_is_bound_to_one_core_has_one():
    done = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
