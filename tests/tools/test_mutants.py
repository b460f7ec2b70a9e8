"""The mistakes of ``tools/mutants.py`` can still be made, though the code has moved on."""

from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def mutants(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools")
    found = import_module("mutants")
    return [*found.MUTANTS, *found.PROCESS_MUTANTS]


def test_each_finds_the_text_that_it_changes_and_the_tests_that_notice(mutants):
    lost = [
        mutant.what
        for mutant in mutants
        if mutant.right not in (ROOT / mutant.file).read_text(encoding="utf-8")
        or not all((ROOT / test.partition("::")[0]).exists() for test in mutant.tests)
    ]
    assert len(mutants) > 40
    assert not lost
