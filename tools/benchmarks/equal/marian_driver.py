"""Trains and translates with Marian from the package pymarian, for ``equal_time.py``."""

import argparse
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import clock

ARGUMENTS = clock.parse_arguments()
START = "Training started"
EVERY_UPDATES = 50  # Marian keeps weights by updates; equal_time.py picks those it needs


def prepare(arguments: argparse.Namespace) -> None:
    """Write the vocabulary with ids, as Marian reads it."""
    pieces = (arguments.corpus / "vocabulary.txt").read_text(encoding="utf-8").splitlines()
    names = ["</s>", "<unk>", *pieces]
    lines = [f"{json.dumps(name, ensure_ascii=False)}: {i}" for i, name in enumerate(names)]
    clock.write_lines(arguments.corpus / "marian.yml", lines)


def train(arguments: argparse.Namespace) -> None:
    """Run ``pymarian`` and stop it when the time is up; it then saves its weights."""
    folder, corpus = arguments.run / "marian", arguments.corpus
    folder.mkdir(exist_ok=True)
    vocabulary, model, log = str(corpus / "marian.yml"), folder / "model.npz", folder / "log"
    command = [str(Path(sys.executable).with_name("pymarian")), "--model", str(model)]
    command += ["--train-sets", *(str(corpus / f"pieces/train.{s}") for s in ("source", "target"))]
    command += ["--vocabs", vocabulary, vocabulary, "--cpu-threads", str(arguments.threads)]
    command += ["--seed", str(arguments.seed), "--log", str(log), "--tempdir", str(folder)]
    command += ["--save-freq", f"{EVERY_UPDATES}u", "--disp-freq", "50u", "--after", "0e"]
    for name, value in clock.settings_of(arguments).items():
        command += [f"--{name}"] if value is True else [f"--{name}", *str(value).split()]
    with subprocess.Popen(command) as process:
        while process.poll() is None and not (log.exists() and START in log.read_text()):
            time.sleep(0.1)
        began = time.time()
        try:
            process.wait(60 * arguments.minutes)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            process.wait()
        else:
            sys.exit("Marian ended before the time was up")
    progress = model.with_name("model.npz.progress.yml").read_text()
    updates = int(re.findall(r"^batches: (\d+)", progress, re.MULTILINE)[0])
    kept: list[dict[str, Any]] = []
    for file in folder.glob("model.iter*.npz"):
        number = int(file.stem.removeprefix("model.iter"))
        kept.append({"seconds": file.stat().st_mtime - began, "updates": number, "path": str(file)})
    seconds = min(model.stat().st_mtime - began, 60 * arguments.minutes)
    kept.append({"seconds": seconds, "updates": updates, "path": str(model)})
    clock.write_checkpoints(arguments.run, sorted(kept, key=lambda one: one["seconds"]))


def translate(arguments: argparse.Namespace) -> None:
    """Translate with ``pymarian.Translator``."""
    from pymarian import Translator

    vocabulary, settings = str(arguments.corpus / "marian.yml"), clock.settings_of(arguments)
    translator = Translator(
        models=str(arguments.weights),
        vocabs=[vocabulary, vocabulary],
        beam_size=clock.BEAM,
        normalize=settings["normalize"],
        max_length_factor=2,
        cpu_threads=arguments.threads,
        mini_batch=32,
        maxi_batch=100,
        maxi_batch_sort="src",
    )
    source = arguments.corpus / "pieces" / f"{arguments.split}.source"
    lines = source.read_text(encoding="utf-8").split("\n")[:-1]
    clock.write_lines(arguments.output, translator.translate(lines))


if __name__ == "__main__":
    {"prepare": prepare, "train": train, "translate": translate}[ARGUMENTS.action](ARGUMENTS)
