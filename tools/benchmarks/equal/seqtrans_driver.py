"""Trains and translates with the commands of seqtrans, for ``equal_time.py``."""

import argparse
import os
import subprocess
import sys
from typing import Any

import clock

ARGUMENTS = clock.parse_arguments()

import yaml

SEQTRANS = (sys.executable, "-m", "seqtrans")
EVERY_UPDATES, KEEP = 100, 150


def train(arguments: argparse.Namespace) -> None:
    """Run ``seqtrans train`` with one process a thread, as README advises for several cores."""
    recipe = arguments.run / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(recipe_of(arguments)))
    os.environ["OMP_NUM_THREADS"] = "1"
    command = [*SEQTRANS, "train", str(recipe), "--run", str(arguments.run / "seqtrans")]
    subprocess.run([*command, "--devices", str(arguments.threads)], check=True)
    kept: list[dict[str, Any]] = []
    for file in (arguments.run / "seqtrans" / "checkpoints").glob("*/state.yaml"):
        state = yaml.safe_load(file.read_text())["state"]
        kept.append(
            {"seconds": state["seconds"], "updates": state["step"], "path": file.parent.name}
        )
    clock.write_checkpoints(arguments.run, sorted(kept, key=lambda one: one["seconds"]))


def recipe_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the recipe with the shared text and pieces, and the minutes of this comparison."""
    recipe, raw = clock.settings_of(arguments), arguments.corpus.resolve() / "raw"

    def files(split: str) -> list[dict[str, str]]:
        return [{side: str(raw / f"{split}.{side}") for side in ("source", "target")}]

    data, training = recipe["data"], recipe["training"]
    pieces = {
        "kind": "sentencepiece_model",
        "model": str(arguments.corpus.resolve() / "sentencepiece.model"),
        "sampling": data.get("segmentation", {}).get("sampling"),
    }
    recipe["data"] = {
        **data,
        "train": files("train"),
        "validation": files("dev"),
        "segmentation": pieces,
    }
    checkpoints = {**training.get("checkpoints", {}), "keep_last": KEEP}
    checkpoints["every_steps"] = EVERY_UPDATES
    recipe["training"] = {
        **{
            name: value
            for name, value in training.items()
            if name not in ("max_steps", "max_epochs")
        },
        "max_minutes": arguments.minutes,
        "seed": arguments.seed,
        "checkpoints": checkpoints,
    }
    return recipe


def translate(arguments: argparse.Namespace) -> None:
    """Run ``seqtrans translate`` with the recipe's guards and length penalty."""
    command = [*SEQTRANS, "translate", str(arguments.run / "seqtrans")]
    command += [str(arguments.corpus / "raw" / f"{arguments.split}.source")]
    command += ["--output", str(arguments.output), "--checkpoint", arguments.weights.name]
    command += ["--beam-size", str(clock.BEAM), "--threads", str(arguments.threads)]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    if ARGUMENTS.action != "prepare":  # a recipe has all that it needs
        {"train": train, "translate": translate}[ARGUMENTS.action](ARGUMENTS)
