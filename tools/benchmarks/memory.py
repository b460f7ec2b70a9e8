"""Memory of ``seqtrans translate`` on many lines: it must stay flat.

    python tools/benchmarks/memory.py --lines 400000
    python tools/benchmarks/memory.py --lines 10000000

Trains a tiny model for one step, translates generated lines of many lengths through the command's
pipes and shows ten times how much memory the process itself had allocated. Weights and activations
are small, so that what does not go away would show. Exits 1 if the second half of the lines made
it grow by more than ``--growth`` MiB. 400,000 lines take some 3 minutes; the last line says how
long 10 million would.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from seqtrans.translation.data.synthetic import synthetic_pairs

MANY = 10_000_000
HALF = "{kind: transformer, num_layers: 1, model_dim: 16, num_heads: 2, ffn_dim: 32}"
RECIPE = f"""
data:
  train: [{{source: text, target: text}}]
  validation: [{{source: text, target: text}}]
  segmentation: {{kind: words, joint: true}}
model: {{encoder: {HALF}, decoder: {HALF}}}
training: {{max_steps: 1, precision: fp32}}
validation: {{metrics: []}}
decoding: {{max_length_factor: 1.0}}
"""


def lines(count: int, seed: int) -> list[str]:
    """Lines of 1 to 60 words, with lengths like those of natural text."""
    pairs = synthetic_pairs(
        "copy", count, seed=seed, max_tokens=60, mean_tokens=9.0, num_symbols=200
    )
    return [f"{source}\n" for source, _ in pairs]


def feed(pipe: BinaryIO, count: int) -> None:
    """Write lines as fast as they are read."""
    block = 10_000
    with pipe:
        pipe.writelines(
            "".join(lines(min(block, count - start), seed=1 + start)).encode()
            for start in range(0, count, block)
        )


def allocated(process: int) -> float:
    """Memory of a process, in MiB, that is no page of a file."""
    status = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(x.split()[1]) for x in status if x.startswith("RssAnon")) / 1024


def measure(folder: Path, count: int, beam_size: int) -> list[float]:
    """Memory after every tenth of ``count`` lines."""
    (folder / "text").write_text("".join(lines(2000, seed=0)))
    (folder / "recipe.yaml").write_text(RECIPE)
    command = [sys.executable, "-m", "seqtrans"]
    train = [*command, "train", "recipe.yaml", "--run", "run"]
    subprocess.run(train, cwd=folder, check=True, capture_output=True)
    found: list[float] = []
    started = time.monotonic()
    with subprocess.Popen(
        [*command, "translate", "run", "--beam-size", str(beam_size)],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin  # noqa: S101 - for the type checker
        assert process.stdout  # noqa: S101
        threading.Thread(target=feed, args=(process.stdin, count), daemon=True).start()
        number = 0
        for number, _ in enumerate(process.stdout, start=1):
            if number % (count // 10) == 0:
                found.append(allocated(process.pid))
                print(f"{number:>12,} lines {found[-1]:8,.0f} MiB", flush=True)
    if number != count or process.returncode:
        raise SystemExit(f"{number:,} lines came out of {count:,}")
    seconds = (time.monotonic() - started) / count * MANY
    print(f"{MANY:,} lines would take {seconds / 60:,.0f} minutes")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--lines", type=int, default=400_000, help="at least 10")
    parser.add_argument("--beam-size", type=int, default=1)
    parser.add_argument("--growth", type=float, default=32.0, help="MiB the second half may add")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="seqtrans-memory.") as folder:
        found = measure(Path(folder), options.lines, options.beam_size)
    growth = max(found[5:]) - found[4]
    print(f"the second half added {growth:,.0f} MiB")
    return int(growth > options.growth)


if __name__ == "__main__":
    sys.exit(main())
