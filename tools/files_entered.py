"""Count the files of seqtrans that one must read to follow what it does.

    python tools/files_entered.py [--list]

runs small trainings, one translation and one classification, each in an interpreter of its own,
and prints for each trip in how many files of ``seqtrans/`` a function ran, how many functions, and
how many of the files lie in ``training/``. Importing a module enters no file. An update is the
second one of its training: the first also makes what the others use. ``--list`` names the files.
"""

import argparse
import io
import multiprocessing
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from threading import get_ident, setprofile
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "data"
PACKAGE = f"{ROOT / 'seqtrans'}/"
SHOWN = "training/"
LAYER = "{kind: transformer, num_layers: 1, model_dim: 32, num_heads: 2, ffn_dim: 32}"
TRAINING = "training: {max_steps: 3, precision: fp32}"
TEXT = f"""
data:
  train: [{{source: {DATA}/smart-home-en-de/dev.en, target: {DATA}/smart-home-en-de/dev.de}}]
  validation:
    - {{source: {DATA}/smart-home-en-de/test.en, target: {DATA}/smart-home-en-de/test.de}}
  segmentation: {{kind: sentencepiece, vocab_size: 500, joint: true}}
  batch_tokens: 300
model: {{encoder: {LAYER}, decoder: {LAYER}}}
{TRAINING}
validation: {{decoding: {{max_length: 8}}}}
"""
IMAGES = f"""
task: classification
data:
  train:
    kind: idx
    images: {DATA}/digits/train-images-idx3-ubyte
    labels: {DATA}/digits/train-labels-idx1-ubyte
  validation: {{kind: fraction, fraction: 0.2}}
model: {{kind: mlp, widths: [32]}}
{TRAINING.replace("}", ", stopping: {metric: accuracy}}")}
"""


@dataclass
class Trip:
    """The functions that ran, by file; a profiler of ``sys.setprofile``."""

    functions: dict[str, set[str]] = field(default_factory=dict)
    importing: dict[int, int] = field(default_factory=dict)  # modules being imported, by thread

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        """Note a function of seqtrans that is entered."""
        code = frame.f_code
        if event not in ("call", "return") or not code.co_filename.startswith(PACKAGE):
            return
        thread = get_ident()
        if code.co_name == "<module>":
            change = 1 if event == "call" else -1
            self.importing[thread] = self.importing.get(thread, 0) + change
        elif event == "call" and not self.importing.get(thread):
            file = code.co_filename.removeprefix(PACKAGE)
            self.functions.setdefault(file, set()).add(code.co_qualname)


def main() -> None:
    """Print the table; see the top of this file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--list", action="store_true", help="name the files of each trip")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        trips = all_trips(Path(folder))
    print(f"| trip | files | functions | files in {SHOWN} |\n| --- | --: | --: | --: |")
    for name, trip in trips.items():
        functions = sum(map(len, trip.functions.values()))
        shown = sum(file.startswith(SHOWN) for file in trip.functions)
        print(f"| {name} | {len(trip.functions)} | {functions} | {shown} |")
    for name, trip in trips.items() if options.list else ():
        print(f"\n{name}")
        for file, functions in sorted(trip.functions.items()):
            print(f"  {file}: {', '.join(sorted(functions))}")


def all_trips(folder: Path) -> dict[str, Trip]:
    """Run the commands in ``folder``; return what each entered."""
    (folder / "text.yaml").write_text(TEXT, encoding="utf-8")
    (folder / "images.yaml").write_text(IMAGES, encoding="utf-8")
    (folder / "line").write_text("Turn the light on.\n", encoding="utf-8")
    draw_image(folder / "image.png")
    trips: dict[str, Trip] = {}
    for kind, update in (("text", "one-layer Transformer"), ("images", "mlp")):
        train = ["train", f"{folder / kind}.yaml", "--run", str(folder / kind)]
        start, one = apart(trace_training, train)
        trips[f"{kind}: one update of a {update}"] = one
        trips[f"{kind}: seqtrans train, before the first update"] = start
    commands = {
        "one translated line": ["translate", folder / "text", folder / "line"],
        "one classified image": ["classify", folder / "images", folder / "image.png"],
    }
    for name, command in commands.items():
        trips[name] = apart(trace, [str(part) for part in command])
    return trips


def draw_image(path: Path) -> None:
    """Write an image as large as those of the digits."""
    from PIL import Image

    Image.new("L", (8, 8), 128).save(path)


def apart(function: Any, arguments: list[str]) -> Any:
    """Call a function in an interpreter that has done nothing else."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, (arguments,))


def trace(arguments: list[str]) -> Trip:
    """Run a command of seqtrans; return what it entered."""
    trip = Trip()
    record(trip)
    run(arguments)
    record(None)
    return trip


def trace_training(arguments: list[str]) -> tuple[Trip, Trip]:
    """Run a training; return what was entered before the first update, and in the second."""
    from seqtrans.training.trainer import Trainer

    start, second = Trip(), Trip()
    profilers = [None, second, None]
    update = Trainer.update

    def traced(self: Any, micro_batches: Any) -> None:
        record(profilers.pop(0))
        update(self, micro_batches)
        record(None)

    Trainer.update = traced
    record(start)
    run(arguments)
    return start, second


def run(arguments: list[str]) -> None:
    """Run a command of seqtrans, silently."""
    from seqtrans.cli import main as seqtrans

    said = io.StringIO()
    out = io.TextIOWrapper(io.BytesIO(), write_through=True)
    with redirect_stdout(out), redirect_stderr(said):
        code = seqtrans(arguments)
    if code:
        raise RuntimeError(f"seqtrans {' '.join(arguments)} ended with {code}:\n{said.getvalue()}")


def record(trip: Trip | None) -> None:
    """Let a trip note what runs from here on, in threads that begin as well; None: nothing does."""
    setprofile(trip)
    sys.setprofile(trip)


if __name__ == "__main__":
    main()
