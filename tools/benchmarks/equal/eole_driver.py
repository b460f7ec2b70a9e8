"""Trains and translates with Eole, for ``equal_time.py`` (runs in its environment)."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import clock

if __name__ == "__main__":  # and not in a worker that reads data, which imports this file too
    ARGUMENTS = clock.parse_arguments()  # sets the number of threads, so before torch

from eole.bin.main import main
from eole.trainer import Trainer

NEVER = 1_000_000_000


def prepare(arguments: argparse.Namespace) -> None:
    """Write the vocabulary with counts, as Eole reads it."""
    pieces = (arguments.corpus / "vocabulary.txt").read_text(encoding="utf-8").splitlines()
    clock.write_lines(arguments.corpus / "eole.vocabulary", [f"{piece}\t1" for piece in pieces])


def configuration(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the configuration file that ``eole train`` would read."""
    corpus, settings = arguments.corpus, clock.settings_of(arguments)
    vocabulary = str(corpus / "eole.vocabulary")
    return {
        "save_data": str(arguments.run / "data"),
        "overwrite": True,
        "seed": arguments.seed,
        "report_every": 50,
        "src_vocab": vocabulary,
        "tgt_vocab": vocabulary,
        "share_vocab": True,
        "n_sample": 0,
        "data": {
            name: {
                "path_src": str(corpus / "pieces" / f"{split}.source"),
                "path_tgt": str(corpus / "pieces" / f"{split}.target"),
            }
            for name, split in (("corpus_1", "train"), ("valid", "dev"))
        },
        "model": settings["model"],
        "training": {
            "model_path": str(arguments.run / "eole"),
            "world_size": 1,
            "gpu_ranks": [],
            "train_steps": NEVER,
            "valid_steps": NEVER,
            "save_checkpoint_steps": NEVER,
            **settings["training"],
        },
    }


def train(arguments: argparse.Namespace) -> None:
    """Run ``eole train`` until the time is up."""
    file = arguments.run / "eole.yaml"
    file.write_text(json.dumps(configuration(arguments)))  # JSON is YAML
    trainers: list[Trainer] = []

    def save(path: Path) -> None:
        saver = trainers[0].model_saver
        saver.save(int(path.name), moving_average=trainers[0].moving_average)
        path.symlink_to(Path(saver.model_path).resolve() / f"step_{path.name}")

    watch, step = clock.Clock(arguments, save), Trainer._train_step
    report = Trainer._maybe_report_training  # what follows an update and its average

    def timed_step(trainer: Trainer, *rest: Any, **options: Any) -> None:
        trainers[:] = [trainer]
        watch.start()
        step(trainer, *rest, **options)

    def counting_report(trainer: Trainer, *rest: Any, **options: Any) -> Any:
        output = report(trainer, *rest, **options)
        watch.update()
        return output

    Trainer._train_step, Trainer._maybe_report_training = timed_step, counting_report
    sys.argv = ["eole", "train", "--config", str(file)]
    try:
        main()
    except clock.TimeIsUpError:
        return


def translate(arguments: argparse.Namespace) -> None:
    """Run ``eole predict``."""
    source = arguments.corpus / "pieces" / f"{arguments.split}.source"
    command = ["--model_path", str(arguments.weights.resolve()), "--src", str(source)]
    command += ["--output", str(arguments.output), "--beam_size", str(clock.BEAM)]
    command += ["--batch_type", "tokens", "--batch_size", "2048"]
    sys.argv = ["eole", "predict", *command]
    main()


if __name__ == "__main__":
    {"prepare": prepare, "train": train, "translate": translate}[ARGUMENTS.action](ARGUMENTS)
