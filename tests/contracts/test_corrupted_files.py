"""Whatever a file holds, it is read or refused in a line: no code runs, nothing hangs or bursts."""

import os
from pathlib import Path

import pytest

from tests.support.corrupted_text_inputs import VICTIMS, victim
from tests.support.sandbox import Victim, judge

FRESH = os.environ.get("HYPOTHESIS_PROFILE") == "fresh"
CASES = 39


@pytest.mark.parametrize("kind", VICTIMS)
def test_hostile_files_are_read_or_refused(tmp_path, kind):
    start = os.urandom(4).hex() if FRESH else "same"
    seeds = [f"{start}-{number}" for number in range(CASES * 10 if FRESH else CASES)]
    verdicts = judge(victim, kind, seeds, tmp_path)
    assert not verdicts.problems, "\n\n".join(verdicts.problems)
    assert verdicts.worked + verdicts.refused == len(seeds)
    assert (verdicts.refused > len(seeds) // 10) != VICTIMS[kind].mends


def test_there_are_cases_enough():
    assert len(VICTIMS) * CASES >= 500


def run_code(folder: Path) -> None:
    (folder.parent.parent / "marker").touch()


def hang(folder: Path) -> None:
    while folder.exists():
        pass


def burst(folder: Path) -> None:
    assert len(bytearray(os.urandom(1) * (3 << 29))) > len(folder.name)


def fail(folder: Path) -> None:
    raise KeyError(folder)


BAD = {"ran code": run_code, "hang": hang, "took": burst, "KeyError": fail}


def misbehaving(kind: str) -> Victim:
    """Does what no reader must do, to files that are spoilt."""

    def spoil(_, folder: Path) -> None:
        (folder / "spoilt").touch()

    def use(folder: Path) -> None:
        if (folder / "spoilt").exists():
            BAD[kind](folder)

    return Victim(Path.exists, spoil, use)


SLOW = pytest.param("hang", marks=pytest.mark.slow)  # for seconds, by its nature


@pytest.mark.parametrize("kind", ["ran code", "took", "KeyError", SLOW])
def test_what_must_not_happen_is_noticed(tmp_path, kind):
    verdicts = judge(misbehaving, kind, ["one"], tmp_path)
    assert (verdicts.worked, verdicts.refused) == (0, 0)
    assert kind in verdicts.problems[0]
