"""Trains and translates with Joey NMT, for ``equal_time.py`` (runs in its environment)."""

import argparse
from pathlib import Path
from typing import Any

import clock

ARGUMENTS = clock.parse_arguments()  # sets the number of threads, so before torch

import torch
from joeynmt.batch import Batch
from joeynmt.config import BaseConfig, parse_global_args
from joeynmt.prediction import predict
from joeynmt.prediction import prepare as build
from joeynmt.training import TrainManager

NEVER = 1_000_000_000


def configuration(arguments: argparse.Namespace) -> BaseConfig:
    """Return what Joey NMT makes of its configuration file."""
    corpus, settings = arguments.corpus, clock.settings_of(arguments)
    side = {"level": "word", "voc_file": str(corpus / "vocabulary.txt")}
    (arguments.run / "joey").mkdir(exist_ok=True)
    config: dict[str, Any] = {
        "name": "equal-time",
        "model_dir": str(arguments.run / "joey"),
        "use_cuda": False,
        "random_seed": arguments.seed,
        "data": {
            **{split: str(corpus / "pieces" / split) for split in ("train", "dev", "test")},
            "dataset_type": "plain",
            "src": {"lang": "source", **side},
            "trg": {"lang": "target", **side},
        },
        "training": {
            "epochs": NEVER,
            "logging_freq": 50,
            "validation_freq": NEVER,
            **settings["training"],
        },
        "testing": {"batch_size": 2048, "batch_type": "token", **settings["testing"]},
        "model": settings["model"],
    }
    config["testing"]["beam_size"] = clock.BEAM
    return parse_global_args(config)


def train(arguments: argparse.Namespace) -> None:
    """Run Joey NMT's own TrainManager until the time is up."""
    config = configuration(arguments)
    model, data, dev, _ = build(config, rank=0, mode="train")
    manager = TrainManager(
        rank=0,
        model=model,
        model_dir=config.model_dir,
        device=config.device,
        autocast={"device_type": "cpu", "enabled": False},
        seed=config.seed,
        train_args=config.train,
        dev_args=config.test,
    )

    def save(path: Path) -> None:
        torch.save(model.state_dict(), path)

    watch = clock.Clock(arguments, save)
    step = manager._train_step

    def timed_step(batch: Batch) -> tuple[float, int]:
        watch.start()
        return step(batch)

    manager._train_step = timed_step
    manager.optimizer.register_step_post_hook(lambda *_: watch.update())
    try:
        manager.train_and_validate(train_data=data, valid_data=dev)
    except clock.TimeIsUpError:
        return


@torch.inference_mode()
def translate(arguments: argparse.Namespace) -> None:
    """Search with Joey NMT's own ``predict``."""
    config = configuration(arguments)
    model, _, dev, test = build(config, rank=0, mode="train")
    model.load_state_dict(torch.load(arguments.weights))
    data = dev if arguments.split == "dev" else test
    autocast = {"device_type": "cpu", "enabled": False}
    tokens = predict(model, data, config.device, 0, args=config.test, autocast=autocast)[3]
    clock.write_lines(arguments.output, [" ".join(without_end(row)) for row in tokens])


def without_end(row: list[str]) -> list[str]:
    """Return the pieces before the end of the sentence."""
    return row[: row.index("</s>")] if "</s>" in row else row


if __name__ == "__main__":
    if ARGUMENTS.action != "prepare":  # it reads the pieces as they are
        {"train": train, "translate": translate}[ARGUMENTS.action](ARGUMENTS)
