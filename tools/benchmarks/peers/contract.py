"""What every driver is told and what it reports; runs in the peers' environments, so stdlib only.

A driver is a script that trains or decodes with one system's own machinery:

    PYTHON DRIVER {train,decode} --corpus FOLDER --report FILE --shape NAME ...

and writes one JSON report: what it ran, and seconds, sentences and target tokens of every lap
(an update when training, a batch when decoding) after the warm-up.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

LABEL_SMOOTHING = 0.1
DROPOUT = 0.1
LEARNING_RATE = 1e-3  # after a linear warm-up; from there on falling with the square root of steps
LEARNING_RATE_WARMUP = 400
ADAM_BETAS = (0.9, 0.98)
CLIP_NORM = 1.0
LENGTH_PENALTY = 1.0
SEED = 1


@dataclass(frozen=True)
class Shape:
    """Sizes of a model that every system can build; all embeddings and the output are tied.

    Transformers are post-norm: the default of both peers, and where fairseq has its fast path.
    """

    kind: str  # transformer or recurrent
    dim: int  # of embeddings and states; of each direction of a bidirectional encoder
    layers: int  # of the encoder, and of the decoder
    ffn_dim: int = 0
    heads: int = 0
    input_feeding: bool = False  # the attention's output goes into the next step's decoder


SHAPES = {
    "transformer": Shape("transformer", dim=256, layers=3, ffn_dim=1024, heads=4),
    "lstm": Shape("recurrent", dim=512, layers=1),
    "lstm-feeding": Shape("recurrent", dim=512, layers=1, input_feeding=True),
}


@dataclass
class Stopwatch:
    """Laps in a row: each lasts from the end of the one before."""

    warmup: int = 0  # laps left out of the report
    seconds: list[float] = field(default_factory=list)
    sentences: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    seen: int = 0
    last: float = field(default_factory=time.perf_counter)

    def restart(self) -> None:
        """Leave the time since the last lap out."""
        self.last = time.perf_counter()

    def lap(self, sentences: int, targets: int) -> None:
        """End a lap in which this many sentences and target tokens (EOS counted) were done."""
        now = time.perf_counter()
        if self.seen >= self.warmup:
            self.seconds.append(now - self.last)
            self.sentences.append(sentences)
            self.targets.append(targets)
        self.seen += 1
        self.last = time.perf_counter()


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read a driver's command line; also pins the number of threads before torch is imported."""
    parser = argparse.ArgumentParser()
    parser.add_argument("action", choices=["train", "decode"])
    parser.add_argument("--corpus", type=Path, required=True, help="made by shared_corpus.py")
    parser.add_argument("--report", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--shape", choices=SHAPES, required=True)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--decode-tokens", type=int, default=2048)
    parser.add_argument("--batches", choices=["own", "shared"], default="shared")
    parser.add_argument("--warmup", type=int, default=3, help="laps that don't count")
    parser.add_argument("--updates", type=int, default=10, help="updates after the warm-up")
    parser.add_argument("--save", type=Path, help="folder for the trained weights")
    parser.add_argument("--weights", type=Path, help="folder a training saved to; else random")
    parser.add_argument("--beam", type=int, default=5)
    parser.add_argument("--passes", type=int, default=1, help="times over the test sentences")
    arguments = parser.parse_args(argv)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(arguments.threads)
    return arguments


def write_report(arguments: argparse.Namespace, watch: Stopwatch, **facts: Any) -> None:
    """Write the report of a run.

    Args:
        arguments: What the driver was told.
        watch: The laps.
        facts: What else there is to know: ``system``, ``version``, ``torch``, ``parameters``.
    """
    told = {name: str(value) for name, value in vars(arguments).items()}
    laps = {name: getattr(watch, name) for name in ("seconds", "sentences", "targets")}
    shape = asdict(SHAPES[arguments.shape])
    report = {**facts, **laps, "python": platform.python_version(), "told": told, "shape": shape}
    arguments.report.write_text(json.dumps(report))


def shared_batches(corpus: Path, split: str) -> list[list[int]]:
    """The batches that all systems share: line numbers of ``pieces/<split>``."""
    return json.loads((corpus / "batches.json").read_text())[split]


def output_lengths(arguments: argparse.Namespace, width: int) -> tuple[int, int]:
    """Least and most target tokens of a decoding batch whose longest source has ``width`` (EOS).

    Random weights end a sentence by chance or never, so without trained weights every output has
    the length of the batch's longest source. See ``benchmarks/decoding.py``.
    """
    return (1, width + width // 2 + 10) if arguments.weights else (width, width)
