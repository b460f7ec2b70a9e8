"""Show that a change leaves training as it was: equal losses and final weights, to the bit.

    python tools/loss_compare.py [REVISION] [--only NAME]

trains small recipes for 50 updates, with dropout and in fp32, by one and by two processes: once
with the code of REVISION (by default that of the last commit), taken into a folder of its own, and
once with the code as it is here. Both read the recipes and the text of this checkout, and are used
as a user would, by ``seqtrans train``, so that files may move and names may change. The weights of
both revisions must have the same names.

Prints a row per recipe and number of processes; exits 1 where anything differs.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "data"
UPDATES = 50
PROCESSES = (1, 2)
MEASURED = ("train/loss", "train/gradient_norm", "valid/loss", "valid/bleu", "valid/accuracy")
TEXT = f"""
data:
  train: [{{source: {DATA}/smart-home-en-de/dev.en, target: {DATA}/smart-home-en-de/dev.de}}]
  validation:
    - {{source: {DATA}/smart-home-en-de/test.en, target: {DATA}/smart-home-en-de/test.de}}
  segmentation: {{kind: words, vocab_size: 500, joint: true}}
  batch_tokens: 300
label_smoothing: 0.1
validation: {{metrics: [bleu], decoding: {{beam_size: 1, max_length: 8}}}}
"""
IMAGES = f"""
task: classification
data:
  train:
    kind: idx
    images: {DATA}/digits/train-images-idx3-ubyte
    labels: {DATA}/digits/train-labels-idx1-ubyte
  validation: {{kind: fraction, fraction: 0.2}}
  batch_size: 32
  augmentation: {{pad_crop: 1, rotate: 10.0}}
"""
TRAINING = f"""
training:
  max_steps: {UPDATES}
  accumulate: 2
  precision: fp32
  ema_decay: 0.9
  log_every_steps: 1
  validate_every_steps: 25
  optimizer: {{kind: adam, learning_rate: 2.0e-3}}
  schedule: {{kind: linear, warmup_steps: 10}}
  stopping: {{metric: loss, patience: null}}
"""
TRANSFORMER = "{kind: transformer, num_layers: 2, model_dim: 32, num_heads: 4, ffn_dim: 64}"
LSTM = "{kind: recurrent, hidden_dim: 32, embedding_dim: 32, num_layers: 2, dropout: 0.2}"
ATTENDING = (
    "{kind: recurrent, hidden_dim: 32, embedding_dim: 32, attention: additive, dropout: 0.2}"
)
BLOCKS = "[{filters: 8, dropout: 0.1}, {filters: 16, residual: true, stride: 2}]"
RECIPES = {
    "transformer": f"{TEXT}model: {{encoder: {TRANSFORMER}, decoder: {TRANSFORMER}}}{TRAINING}",
    "lstm": f"{TEXT}model: {{encoder: {LSTM}, decoder: {ATTENDING}}}{TRAINING}",
    "cnn": f"{IMAGES}model: {{kind: cnn, blocks: {BLOCKS}}}{TRAINING}",
}


def main() -> int:
    """Compare all recipes; see the top of this file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("revision", nargs="?", default="HEAD", help="what to compare with [HEAD]")
    parser.add_argument("--only", choices=RECIPES, help="one recipe")
    options = parser.parse_args()
    differs = False
    with tempfile.TemporaryDirectory() as folder:
        before = Path(folder) / "before"
        git("worktree", "add", "-q", "--detach", before, options.revision)
        try:
            print("| recipe | processes | losses | weights |\n| --- | --: | --- | --- |")
            for name in [options.only] if options.only else RECIPES:
                for processes in PROCESSES:
                    old, new = (
                        train(code, Path(folder), name, processes) for code in (before, ROOT)
                    )
                    said = [
                        f"equal ({len(old[0])})"
                        if old[0] == new[0]
                        else first_difference(old[0], new[0])
                    ]
                    said += ["equal" if old[1] == new[1] else "differ"]
                    differs |= old != new
                    print(f"| {name} | {processes} | {' | '.join(said)} |", flush=True)
        finally:
            git("worktree", "remove", "--force", before)
    return int(differs)


def git(*arguments: str | Path) -> None:
    """Run a git command on this checkout."""
    subprocess.run(["git", *arguments], cwd=ROOT, check=True)  # noqa: S607


def train(
    code: Path, folder: Path, name: str, processes: int
) -> tuple[list[tuple[int, str, float]], str]:
    """Train a recipe with the seqtrans of ``code``; return what it logged and its digest."""
    run = folder / f"{name}-{processes}-{'new' if code == ROOT else 'old'}"
    recipe = folder / f"{name}.yaml"
    recipe.write_text(RECIPES[name], encoding="utf-8")
    command = [sys.executable, "-m", "seqtrans", "train", recipe, "--run", run]
    environment = {**os.environ, "PYTHONPATH": str(code), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--devices", str(processes)],
        cwd=code,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{name} with the code of {code} ended with {done.returncode}:\n{done.stderr}")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    logged = [(line["step"], key, line[key]) for line in lines for key in MEASURED if key in line]
    weights = sorted((run / "checkpoints" / str(UPDATES)).glob("*.safetensors"))
    return logged, hashlib.sha256(b"".join(file.read_bytes() for file in weights)).hexdigest()


def first_difference(old: list[tuple[int, str, float]], new: list[tuple[int, str, float]]) -> str:
    """Name the first number that differs."""
    for before, after in zip(old, new, strict=False):
        if before != after:
            return f"differ: step {before[0]}, {before[1]}: {before[2]!r}, now {after[2]!r}"
    return f"differ: {len(old)} numbers, now {len(new)}"


if __name__ == "__main__":
    sys.exit(main())
