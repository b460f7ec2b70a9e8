"""How long seqtrans takes for an epoch of images, beside a loop written by hand and frameworks.

    python tools/benchmarks/images.py --mnist DIR --peers-python PATH --mxnet-python PATH

Every system trains the same models on the same images of MNIST with its own trainer: Adam with
the same settings, batches of 128, no clipping, weights as each of them starts them. Each runs in
its own process, in turn, a round at a time. A number is seconds per epoch, without the first
(libraries make themselves ready in it) and without evaluation; the mean of a round's epochs,
then the median over rounds. The accuracy beside it is that on the test images after the last
epoch, the mean over rounds; each round has another seed.

The hand-written loop is the bar: images normalized in memory, torch's fused Adam, nothing but
what training needs (``peers/image_loop_driver.py``). In bf16 it has the channels last in memory.
Lightning gets its batches in the fastest way there is; that of Keras is ``fit`` on arrays.
seqtrans logs, checks that every loss and gradient is finite, measures accuracy and the norm of
the gradient, and keeps images as bytes, as always.

See tools/README.md for how to install the peers.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "peers"))

import numpy as np
from image_contract import BATCH, SHAPES
from rounds import DRIVERS, OURS, Entrant, Results, processor, take_turns

from seqtrans.images.data.readers.idx import IdxFiles, read_idx

LOOP = "loop"
PEERS = ("keras", "lightning", "sklearn", "mxnet")
LABELS = {
    OURS: "seqtrans",
    LOOP: "hand-written loop",
    "keras": "Keras 3, torch",
    "lightning": "Lightning",
    "sklearn": "scikit-learn",
    "mxnet": "MXNet",
}
IDX = {"train": "train-images-idx3-ubyte", "test": "t10k-images-idx3-ubyte"}


def main() -> None:
    """Measure and print the table."""
    arguments = parse_arguments()
    prepare(arguments.mnist, arguments.work)
    results = run_rounds(list(entrants(arguments)), arguments)
    print(table(results))
    reports = [report for result in results for report in result.reports]
    versions = sorted({f"{report['system']} {report['version']}" for report in reports})
    print(
        f"\n{processor()}, {arguments.threads} thread(s); {arguments.rounds} rounds, interleaved; "
        f"{arguments.epochs} epochs, the first not counted; batches of {BATCH}; "
        f"{'; '.join(versions)}"
    )


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Seconds per epoch of training on images.")
    parser.add_argument("--mnist", type=Path, required=True, help="folder of its four .gz files")
    parser.add_argument("--peers-python", help="interpreter that has all peers but MXNet")
    for peer in PEERS:
        known = os.environ.get(f"{peer.upper()}_PYTHON")
        parser.add_argument(f"--{peer}-python", default=known, help=f"interpreter that has {peer}")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--precisions", nargs="+", choices=["fp32", "bf16"])
    parser.add_argument("--epochs", type=int, default=3, help="each round; at least 2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", type=Path, default=Path("runs/bench-images"), help="scratch")
    parser.add_argument("--json", type=Path, help="write every report there as well")
    parser.set_defaults(precisions=["fp32", "bf16"])
    return parser.parse_args()


def prepare(mnist: Path, work: Path) -> None:
    """Write the images where every driver finds them."""
    work.mkdir(parents=True, exist_ok=True)
    for split, name in IDX.items():
        labels = name.replace("images-idx3", "labels-idx1")
        images = read_idx(
            IdxFiles(images=mnist / f"{name}.gz", labels=mnist / f"{labels}.gz"), None
        )
        np.savez(work / f"{split}.npz", images=images.images[:, 0], labels=images.labels)


def entrants(arguments: argparse.Namespace) -> Iterator[Entrant]:
    """Who takes part, shape by shape.

    Only seqtrans and the loop enter in bf16, and only with LeNet: the products of the other model
    are so small that converting their factors takes longer than it saves. scikit-learn has no
    convolutions.
    """
    pythons = {OURS: sys.executable, LOOP: sys.executable}
    for peer in PEERS:
        shared = None if peer == "mxnet" else arguments.peers_python
        python = getattr(arguments, f"{peer}_python") or shared
        if python:
            pythons[peer] = python
        else:
            print(f"{peer} is left out: no --{peer}-python", file=sys.stderr)
    for shape in arguments.shapes:
        for precision in arguments.precisions:
            for system, python in pythons.items():
                in_bf16 = system in (OURS, LOOP) and shape == "lenet"
                has_model = system != "sklearn" or shape == "mlp"
                if has_model and (precision == "fp32" or in_bf16):
                    yield Entrant(system, python, shape, precision, LABELS[system])


def run_rounds(takers: Sequence[Entrant], arguments: argparse.Namespace) -> list[Results]:
    """Let every entrant train once a round; see ``take_turns``."""
    return take_turns(
        takers,
        arguments,
        lambda entrant, seed: run(entrant, seed, arguments),
        lambda result: f"{epochs(result.reports[-1:])[0]:.3f} s",
    )


def run(entrant: Entrant, seed: int, arguments: argparse.Namespace) -> dict[str, Any] | None:
    """Run a driver once; None if it failed, with the end of what it said on stderr."""
    report, log = arguments.work / "report.json", arguments.work / f"{entrant.system}.log"
    report.unlink(missing_ok=True)
    driver = DRIVERS / f"image_{entrant.system}_driver.py"
    command = [entrant.python, "-W", "ignore", str(driver), "--data", str(arguments.work)]
    command += ["--report", str(report), "--shape", entrant.shape, "--seed", str(seed)]
    command += ["--precision", entrant.precision, "--epochs", str(arguments.epochs)]
    command += ["--threads", str(arguments.threads)]
    with log.open("w", encoding="utf-8") as file:
        done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False)
    if done.returncode == 0:
        return json.loads(report.read_text(encoding="utf-8"))
    print("".join(log.read_text(encoding="utf-8").splitlines(keepends=True)[-5:]), file=sys.stderr)
    print(f"{entrant.label}, {entrant.shape}, {entrant.precision}: failed", file=sys.stderr)
    return None


def epochs(reports: Sequence[dict[str, Any]]) -> list[float]:
    """Seconds of an epoch, a number a round."""
    return [statistics.mean(report["seconds"][1:]) for report in reports]


def table(results: Sequence[Results]) -> str:
    """A Markdown table: medians over rounds, range, and how they compare with the loop in fp32."""
    header = ("model", "precision", "system", "s/epoch", "range", "x loop", "test accuracy")
    rows = [header, ("---",) * 3 + ("--:",) * 4]
    loops = {
        result.entrant.shape: statistics.median(epochs(result.reports))
        for result in results
        if result.entrant.system == LOOP and result.entrant.precision == "fp32"
    }
    for result in results:
        entrant, seconds = result.entrant, epochs(result.reports)
        median, loop = statistics.median(seconds), loops.get(entrant.shape)
        accuracy = statistics.mean(report["accuracy"] for report in result.reports)
        rows.append(
            (
                entrant.shape,
                entrant.precision,
                entrant.label,
                f"{median:.3f}",
                f"{min(seconds):.3f} to {max(seconds):.3f}",
                f"{median / loop:.2f}" if loop else "",
                f"{accuracy:.2%}",
            )
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    main()
