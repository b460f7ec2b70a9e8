"""Break the code on purpose, one mistake at a time, and see that a test fails.

Each mutant replaces one piece of text in one file of a copy of the checkout and runs the tests
that ought to notice. Run it when search, trainer, attention or batching change:

    python tools/mutants.py [--only WORD]

Prints a line per mutant and exits 1 if one survives, or if the text to replace is not there.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from mutations import MUTANTS, Mutant
from mutations_processes import PROCESS_MUTANTS

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Try every mutant whose description holds the word asked for."""
    parser = argparse.ArgumentParser(description="Break the code on purpose; see a test fail.")
    parser.add_argument("--only", default="", help="mutants whose description holds this")
    word = parser.parse_args().only
    alive = 0
    for mutant in (*MUTANTS, *PROCESS_MUTANTS):
        if word in mutant.what:
            verdict = judge(mutant)
            alive += verdict != "killed"
            print(f"{verdict:12} {mutant.what} ({mutant.file})", flush=True)
    return 1 if alive else 0


def judge(mutant: Mutant) -> str:
    """``killed`` by a failing test, ``SURVIVED``, or ``NOT FOUND``."""
    with tempfile.TemporaryDirectory() as folder:
        for part in ("seqtrans", "tests", "pyproject.toml"):
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
            copy(ROOT / part, Path(folder) / part)
        file = Path(folder) / mutant.file
        text = file.read_text(encoding="utf-8")
        if mutant.right not in text:
            return "NOT FOUND"
        file.write_text(text.replace(mutant.right, mutant.wrong), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
        done = subprocess.run(
            [*command, *mutant.tests],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": folder, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            check=False,
        )
    return "killed" if done.returncode == 1 else "SURVIVED"


if __name__ == "__main__":
    sys.exit(main())
