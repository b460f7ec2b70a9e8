"""Train on real English-German text, translate its test set, score it: what ``make demo`` runs.

Every line beginning with ``$`` is a command that you can type yourself. All that is printed
comes from those commands; nothing is downloaded.
"""

import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch

from seqtrans.runtime.cpu_count import usable_cores

ROOT = Path(__file__).resolve().parent.parent
RECIPE = Path("recipes/translation/smart-home-en-de.yaml")
DATA = Path("data/smart-home-en-de")
RUN = Path("runs/smart-home-en-de")
EXAMPLES = 10


def main() -> int:
    """Run the three commands of a translation project one after the other."""
    started = time.monotonic()
    shutil.rmtree(ROOT / RUN, ignore_errors=True)
    seqtrans("train", RECIPE, "--run", RUN, *devices())
    output = RUN / "test.de"
    seqtrans("translate", RUN, DATA / "test.en", "--output", output)
    print("\nHow good is it? The first row is the baseline of copying the source.", flush=True)
    metrics = [word for name in ("bleu", "chrf") for word in ("--metric", name)]
    seqtrans("evaluate", "--reference", DATA / "test.de", *metrics, DATA / "test.en", output)
    show_examples(ROOT / DATA / "test.en", ROOT / output, ROOT / DATA / "test.de")
    print(f"\nThe whole took {(time.monotonic() - started) / 60:.1f} minutes. Now try:")
    print(f"$ echo 'Turn on the light in the kitchen.' | .venv/bin/seqtrans translate {RUN}")
    return 0


def devices() -> list[str]:
    """Two processes where there are two cores: small batches keep one core busy, hardly two."""
    return ["--devices", "2"] if usable_cores() > 1 and not torch.cuda.is_available() else []


def seqtrans(*arguments: str | Path) -> None:
    """Run one seqtrans command from the root of the repository and show it."""
    words = [str(argument) for argument in arguments]
    print(f"\n$ seqtrans {shlex.join(words)}", flush=True)
    done = subprocess.run([sys.executable, "-m", "seqtrans", *words], cwd=ROOT, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def show_examples(source: Path, output: Path, reference: Path) -> None:
    """Print test lines spread evenly over the file, so that none is hand-picked."""
    texts = [p.read_text(encoding="utf-8").splitlines() for p in (source, output, reference)]
    step = len(texts[0]) // EXAMPLES
    print(f"\n{EXAMPLES} test lines, {step} apart, so that none is hand-picked:")
    for english, german, wanted in list(zip(*texts, strict=True))[::step][:EXAMPLES]:
        print(f"\n  English    {english}\n  seqtrans   {german}\n  reference  {wanted}")


if __name__ == "__main__":
    sys.exit(main())
