"""Whatever a file holds, it is read or refused in a line: no code runs, nothing hangs or bursts."""

import os

import pytest
from sandbox import judge
from victims import VICTIMS, victim

FRESH = os.environ.get("HYPOTHESIS_PROFILE") == "fresh"
CASES = 42


@pytest.mark.parametrize("kind", VICTIMS)
def test_hostile_files_are_read_or_refused(tmp_path, kind):
    start = os.urandom(4).hex() if FRESH else "same"
    seeds = [f"{start}-{number}" for number in range(CASES * 10 if FRESH else CASES)]
    verdicts = judge(victim, kind, seeds, tmp_path)
    assert not verdicts.problems, "\n\n".join(verdicts.problems)
    assert verdicts.worked + verdicts.refused == len(seeds)
    assert verdicts.refused > len(seeds) // 10
