"""What drivers of ``equal_time.py`` are told; runs in the peers' environments, so stdlib only.

    PYTHON DRIVER prepare --corpus FOLDER
    PYTHON DRIVER train --corpus FOLDER --run FOLDER --settings FILE --minutes N ...
    PYTHON DRIVER translate --corpus FOLDER --run FOLDER --settings FILE --weights PATH
        --split {dev,test} --output FILE

``prepare`` writes what does not depend on a run, ``train`` keeps weights from time to time and
lists them in ``checkpoints.json``, ``translate`` writes one line of pieces for each line.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

BEAM = 5


class TimeIsUpError(Exception):
    """The minutes are over; ends a training that knows no such limit."""


class Clock:
    """The time that a training takes, from its first update on, and the weights kept meanwhile.

    What the system does between two updates counts: reading data, validating, keeping weights.

    Args:
        arguments: The driver's command line.
        save: Writes the weights to a path.
    """

    def __init__(self, arguments: argparse.Namespace, save: Callable[[Path], None]) -> None:
        self.folder, self.save = arguments.run, save
        self.limit = 60 * arguments.minutes
        self.every = self.limit / arguments.points
        self.kept: list[dict[str, Any]] = []
        self.updates = 0
        self.began: float | None = None

    def start(self) -> None:
        """Begin to count, unless that was done before."""
        self.began = time.monotonic() if self.began is None else self.began

    def update(self) -> None:
        """Count an update; keep the weights if that is due.

        Raises:
            TimeIsUpError: The time is up, and the weights are kept.
        """
        if self.began is None:
            raise RuntimeError("the clock was not started")
        self.updates += 1
        seconds = time.monotonic() - self.began
        is_over = seconds >= self.limit
        if seconds < self.every * (len(self.kept) + 1) and not is_over:
            return
        path = self.folder / "weights" / str(self.updates)
        path.parent.mkdir(exist_ok=True)
        self.save(path)
        self.kept.append({"seconds": seconds, "updates": self.updates, "path": str(path)})
        if is_over:
            write_checkpoints(self.folder, self.kept)
            raise TimeIsUpError


def write_checkpoints(run: Path, kept: Sequence[dict[str, Any]]) -> None:
    """Write the list of kept weights: seconds of training, updates and path of each."""
    (run / "checkpoints.json").write_text(json.dumps(list(kept), indent=1))


def parse_arguments() -> argparse.Namespace:
    """Read a driver's command line; also pins the number of threads before torch is imported."""
    parser = argparse.ArgumentParser()
    parser.add_argument("action", choices=["prepare", "train", "translate"])
    parser.add_argument("--corpus", type=Path, required=True, help="made by equal/data.py")
    parser.add_argument("--run", type=Path, help="folder of this training")
    parser.add_argument("--settings", type=Path, help="JSON: options in the system's own words")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--points", type=int, default=8, help="how many weights to keep")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--weights", type=Path, help="what to translate with")
    parser.add_argument("--split", choices=["dev", "test"])
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(arguments.threads)
    return arguments


def settings_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the options of this training, in the system's own words."""
    return json.loads(arguments.settings.read_text())


def write_lines(path: Path, lines: Sequence[str]) -> None:
    """Write translations, one a line."""
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
