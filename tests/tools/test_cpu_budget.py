"""``--cpu-budget``: what a test computes is bounded, in processes of its own too; marks lift it."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BURN = """
import time
while time.process_time() < 1.0: pass
"""
TESTS = f"""
import subprocess, sys, time
import pytest

BURN = '''{BURN}'''

@pytest.fixture
def costly():
    subprocess.run([sys.executable, "-c", BURN])

def test_cheap(): pass
def test_waits(): time.sleep(0.5)
def test_burns(costly): pass
@pytest.mark.processes
def test_burns_and_says_so(costly): pass
"""


def test_a_costly_test_fails_unless_it_is_marked(tmp_path):
    (tmp_path / "test_costs.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -ra\nmarkers = processes\n")
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "--cpu-budget", "0.1"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    summary = done.stdout.splitlines()
    assert done.returncode == 1, done.stdout + done.stderr
    assert "FAILED test_costs.py::test_burns - it took " in "\n".join(summary)
    assert "1 failed, 3 passed" in summary[-1]
    assert " seconds of processor time, 0.1 are allowed: " in done.stdout
