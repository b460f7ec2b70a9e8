"""Kill ``seqtrans train`` at every system call that touches its files, and see it go on.

    python tools/kill_points.py [--every N] [--fates kill ENOSPC ENOSPC+ EIO ...]

Needs ``strace`` (on Debian: apt install strace). The command runs in forks of this process, which
has imported everything; strace lets one call of it fail or be its last, those of libraries in other
languages as well. Then the command goes on with ``--resume`` (or starts, where no run was left),
undisturbed, and must end with the weights, pointers and metrics of a run that nothing befell.
Where a call failed instead, the first command must have ended with one line and the exit code 2,
or not have minded. ``ENOSPC+`` means that all later calls of that kind fail, too.

Prints a line per problem, then a table; exits 1 if there was a problem. ``--every 5`` tries every
fifth call only; all of them take half an hour.
"""

import argparse
import collections
import ctypes
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from seqtrans.cli import main as seqtrans
from seqtrans.training.checkpoints.format import read_state
from seqtrans.training.checkpoints.run_directory import open_run
from seqtrans.training.reporting.metric_window import TIMINGS
from seqtrans.translation.data.synthetic import synthetic_pairs

CALLS = (
    *("openat", "write", "pwrite64", "writev", "fsync", "fdatasync", "ftruncate", "fallocate"),
    *("rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir", "mkdir", "mkdirat"),
    *("link", "linkat", "symlink", "symlinkat", "truncate", "copy_file_range", "sendfile"),
)
READS = re.compile(r"openat\(.*O_RDONLY(?!.*O_CREAT)")
ANYONE = -1  # may trace a process: PR_SET_PTRACER_ANY
SET_TRACER = 0x59616D61
USER_ERROR = 2
RECIPE = """
data:
  train: [{source: ../train.src, target: ../train.tgt}]
  validation: [{source: ../dev.src, target: ../dev.tgt}]
  segmentation: {kind: words, joint: false}
  batch_tokens: 150
model:
  encoder: {kind: transformer, num_layers: 1, model_dim: 8, num_heads: 2, ffn_dim: 8}
  decoder: {kind: recurrent, hidden_dim: 8}
training:
  max_steps: 8
  ema_decay: 0.9
  precision: fp32
  schedule: {kind: inverse_square_root, warmup_steps: 10}
  validate_every_steps: 3
  log_every_steps: 2
  stopping: {metric: chrf}
  checkpoints: {keep_best: 2, keep_last: 1, every_steps: 2, average_best: 2}
validation: {metrics: [chrf], decoding: {beam_size: 1, max_length: 8}}
"""


def main() -> int:
    """Try all fates at all calls."""
    parser = argparse.ArgumentParser(description="Kill a training at every call; see it go on.")
    parser.add_argument("--every", type=int, default=1, help="try every Nth call only")
    parser.add_argument("--fates", nargs="+", default=["kill"], help="kill, or names of errors")
    asked = parser.parse_args()
    if not shutil.which("strace"):
        print("strace is not installed")
        return 2
    with tempfile.TemporaryDirectory() as folder:
        return _try_all(Path(folder), asked.fates, asked.every)


def _try_all(folder: Path, fates: list[str], every: int) -> int:
    for name, count, seed in (("train", 60, 1), ("dev", 4, 2)):
        pairs = list(synthetic_pairs("reverse", count, seed=seed, max_tokens=6))
        for ending, side in (("src", 0), ("tgt", 1)):
            (folder / f"{name}.{ending}").write_text("".join(f"{p[side]}\n" for p in pairs))
    _train(folder / "warm")
    expected = _outcome(folder / "warm")
    calls = _calls(folder / "counted")
    tally: collections.Counter[tuple[str, str]] = collections.Counter()
    problems = 0
    for fate in fates:
        for name, number in calls[::every]:
            problem = _try(folder / "case", fate, name, number, expected)
            tally[fate, name] += 1
            if problem:
                problems += 1
                print(f"{fate} at {name} {number}: {problem}", flush=True)
    for (fate, name), count in sorted(tally.items()):
        print(f"{count:6} {fate:8} {name}")
    print(f"{sum(tally.values()):6} in all, {problems} problems")
    return 1 if problems else 0


def _try(
    folder: Path, fate: str, name: str, number: int, expected: dict[str, object]
) -> str | None:
    """What is wrong with how a run takes its fate, if anything."""
    how = "signal=KILL" if fate == "kill" else f"error={fate.removesuffix('+')}"
    when = f"{number}+" if fate.endswith("+") else str(number)
    try:
        code = _train(folder, f"inject={name}:{how}:when={when}")
        return _judge(folder, fate, code) or _judge_resumed(folder, expected)
    finally:
        shutil.rmtree(folder)


def _judge(folder: Path, fate: str, code: int) -> str | None:
    """What is wrong with how the first command ended."""
    said = (folder / "said").read_text()
    if fate == "kill" and code != -signal.SIGKILL:
        return f"was not killed, but ended with {code}: {said[-2000:]}"
    errors = [line for line in said.splitlines() if line.startswith("seqtrans: ")]
    if fate != "kill" and (code not in (0, USER_ERROR) or len(errors) > 1 or "Traceback" in said):
        return f"ended with {code}: {said[-2000:]}"
    return _unsound(folder / "run")


def _judge_resumed(folder: Path, expected: dict[str, object]) -> str | None:
    """What is wrong with how the command goes on."""
    if code := _train(folder, start=False):
        return f"going on ended with {code}: {(folder / 'said').read_text()[-2000:]}"
    found = _outcome(folder)
    wrong = [k for k in expected.keys() | found.keys() if found.get(k) != expected.get(k)]
    return f"ended with another {', '.join(sorted(wrong))}" if wrong else None


def _calls(folder: Path) -> list[tuple[str, int]]:
    """Name and number of the calls that change files in a folder."""
    _train(folder, f"trace={','.join(CALLS)}")
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    found: list[tuple[str, int]] = []
    for line in (folder / "trace").read_text().splitlines():
        match = re.match(r"(\d+) +(\w+)\(", line)
        if match and match[2] in CALLS:
            counts[match[1], match[2]] += 1
            if str(folder) in line and "/said" not in line and not READS.search(line):
                found.append((match[2], counts[match[1], match[2]]))
    return found


def _train(folder: Path, expression: str = "", *, start: bool = True) -> int:
    """Train in a fork, under strace if there is an expression for it; the exit code."""
    if start:
        folder.mkdir()
        (folder / "recipe.yaml").write_text(RECIPE)
    arguments = ["train", str(folder / "recipe.yaml"), "--run", str(folder / "run")]
    if (folder / "run" / "recipe.yaml").exists():
        arguments.append("--resume")
    waits, goes = os.pipe()
    pid = os.fork()
    if not pid:
        _be_the_command(arguments, folder / "said", waits)
    tracer = _trace(pid, folder / "trace", expression) if expression else None
    os.write(goes, b"!")
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(waits)
    os.close(goes)
    if tracer:
        tracer.wait()
    return code


def _be_the_command(arguments: list[str], said: Path, waits: int) -> None:
    code = 1
    try:
        ctypes.CDLL(None).prctl(SET_TRACER, ANYONE, 0, 0, 0)
        out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.read(waits, 1)
        code = seqtrans(arguments)
    finally:
        os._exit(code)


def _trace(pid: int, trace: Path, expression: str) -> "subprocess.Popen[bytes]":
    """strace, once it holds a process."""
    command = ["strace", "-f", "-y", "-qq", "-s0", "-o", str(trace), "-p", str(pid)]
    if expression.startswith("inject"):
        command += ["-e", f"trace={expression.split('=')[1].split(':')[0]}"]
    tracer = subprocess.Popen([*command, "-e", expression])
    while "TracerPid:\t0\n" in Path(f"/proc/{pid}/status").read_text():
        time.sleep(0.001)
    return tracer


def _unsound(run: Path) -> str | None:
    """Whether a checkpoint of a run is not whole."""
    if not (run / "recipe.yaml").exists():
        return None
    for step in open_run(run).steps():
        read_state(open_run(run).at(step))
    return None


def _outcome(folder: Path) -> dict[str, object]:
    """What must not depend on what befell a run."""
    run = open_run(folder / "run")
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    hidden = sorted(p.name for p in run.path.rglob(".*"))
    return {
        "steps": run.steps(),
        "pointers": [run.pointed(name).name for name in ("best", "last")],
        "metrics": [
            {k: v for k, v in line.items() if k.removeprefix("train/") not in TIMINGS}
            for line in lines
        ],
        "leftovers": hidden,
        **{
            str(path.relative_to(run.path)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(run.checkpoints.rglob("*.safetensors"))
        },
    }


if __name__ == "__main__":
    sys.exit(main())
