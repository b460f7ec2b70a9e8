"""Trains and decodes with Joey NMT (runs in its environment; see ../README.md)."""

import argparse
import tempfile
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import contract

ARGUMENTS = contract.parse_arguments()  # sets the number of threads, so before torch

import torch
from joeynmt.batch import Batch
from joeynmt.config import BaseConfig, parse_global_args
from joeynmt.datasets import BaseDataset
from joeynmt.model import Model
from joeynmt.prediction import prepare
from joeynmt.search import search
from joeynmt.training import TrainManager
from torch.utils.data import DataLoader


def main(arguments: argparse.Namespace) -> None:
    """Do what the command line says and write the report."""
    with tempfile.TemporaryDirectory() as folder:
        config = parse_global_args(configuration(arguments, Path(folder)))
        config.model_dir.mkdir(exist_ok=True)
        model, train, _, test = prepare(config, rank=0, mode="train")
        if arguments.weights:
            model.load_state_dict(torch.load(arguments.weights / "joey.pt"))
        if arguments.action == "train":
            watch = run_training(arguments, config, model, train, test)
        else:
            watch = run_decoding(arguments, model, test)
    contract.write_report(
        arguments,
        watch,
        system="Joey NMT",
        version=version("joeynmt"),
        torch=torch.__version__,
        parameters=sum(p.numel() for p in model.parameters()),
    )


def configuration(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The configuration file that Joey NMT would read."""
    pieces, vocabulary = arguments.corpus / "pieces", str(arguments.corpus / "vocabulary.txt")
    side = {"level": "word", "voc_file": vocabulary}
    steps = arguments.warmup + arguments.updates
    return {
        "name": "benchmark",
        "model_dir": str(folder / "run"),
        "use_cuda": False,
        "random_seed": contract.SEED,
        "data": {
            "train": str(pieces / "train"),
            "dev": str(pieces / "test"),
            "test": str(pieces / "test"),
            "dataset_type": "plain",
            "src": {"lang": "source", **side},
            "trg": {"lang": "target", **side},
        },
        "training": {
            "optimizer": "adam",
            "adam_betas": list(contract.ADAM_BETAS),
            "learning_rate": contract.LEARNING_RATE,
            "learning_rate_min": 0.0,
            "scheduling": "warmupinversesquareroot",
            "learning_rate_warmup": contract.LEARNING_RATE_WARMUP,
            "clip_grad_norm": contract.CLIP_NORM,
            "label_smoothing": contract.LABEL_SMOOTHING,
            "normalization": "tokens",
            "batch_size": arguments.batch_tokens,
            "batch_type": "token",
            "updates": steps,
            "epochs": 1_000_000,
            "logging_freq": 1_000_000,
            "validation_freq": 1_000_000,
        },
        "testing": {},
        "model": model_configuration(contract.SHAPES[arguments.shape]),
    }


def model_configuration(shape: contract.Shape) -> dict[str, Any]:
    """The part ``model`` of the configuration file."""
    half: dict[str, Any] = {
        "type": shape.kind,
        "hidden_size": shape.dim,
        "num_layers": shape.layers,
        "dropout": contract.DROPOUT,
        "embeddings": {"embedding_dim": shape.dim, "dropout": contract.DROPOUT},
    }
    if shape.kind == "transformer":
        half |= {"num_heads": shape.heads, "ff_size": shape.ffn_dim, "layer_norm": "post"}
        half["embeddings"]["scale"] = True
        encoder = decoder = half
    else:
        half |= {"rnn_type": "lstm"}
        encoder = half | {"bidirectional": True}
        decoder = half | {
            "attention": "bahdanau",
            "input_feeding": shape.input_feeding,
            "hidden_dropout": contract.DROPOUT,
            "init_hidden": "bridge",
        }
    return {
        "encoder": encoder,
        "decoder": decoder,
        "tied_embeddings": True,
        "tied_softmax": True,
    }


class FixedBatches:
    """The sampler of batches, with what TrainManager asks of one."""

    def __init__(self, batches: list[list[int]]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)

    def set_seed(self, seed: int) -> None:
        """Do nothing: the order is given."""

    def get_state(self) -> None:
        """Have nothing to save."""


def run_training(
    arguments: argparse.Namespace,
    config: BaseConfig,
    model: Model,
    train: BaseDataset,
    valid: BaseDataset,
) -> contract.Stopwatch:
    """Run Joey NMT's own TrainManager and look at the clock after every optimizer step."""
    if arguments.batches == "shared":
        batches = FixedBatches(contract.shared_batches(arguments.corpus, "train"))
        train.make_iter = partial(fixed_loader, train, batches)
    # The configuration file turns fp16 off on a CPU and has no bf16; TrainManager takes any.
    autocast = {"device_type": "cpu", "enabled": arguments.precision == "bf16"}
    manager = TrainManager(
        rank=0,
        model=model,
        model_dir=config.model_dir,
        device=config.device,
        autocast=autocast | {"dtype": torch.bfloat16},
        seed=config.seed,
        train_args=config.train,
        dev_args=config.test,
    )
    watch = contract.Stopwatch(arguments.warmup)
    sizes: list[tuple[int, int]] = []
    train_step = manager._train_step

    def counting_step(batch: Batch) -> tuple[float, int]:
        sizes.append((batch.nseqs, batch.ntokens))
        return train_step(batch)

    manager._train_step = counting_step
    manager.optimizer.register_step_post_hook(lambda *_: watch.lap(*sizes[-1]))
    watch.restart()
    manager.train_and_validate(train_data=train, valid_data=valid)
    if arguments.save:
        arguments.save.mkdir(parents=True, exist_ok=True)
        torch.save(model.state_dict(), arguments.save / "joey.pt")
    return watch


def fixed_loader(
    data: BaseDataset, batches: FixedBatches, pad_index: int, eos_index: int, **_: object
) -> DataLoader:
    """Do as ``BaseDataset.make_iter`` does, with given batches."""
    collate = partial(data.collate_fn, pad_index=pad_index, eos_index=eos_index)
    return DataLoader(data, batch_sampler=batches, collate_fn=collate)


@torch.inference_mode()
def run_decoding(
    arguments: argparse.Namespace, model: Model, test: BaseDataset
) -> contract.Stopwatch:
    """Search with Joey NMT's own ``search``, from line numbers to token ids."""
    model.eval()
    batches = contract.shared_batches(arguments.corpus, "test")
    watch = contract.Stopwatch(warmup=len(batches) * arguments.warmup)
    autocast = {"device_type": "cpu", "enabled": arguments.precision == "bf16"}
    for numbers in batches * (arguments.warmup + arguments.passes):
        watch.restart()
        batch = test.collate_fn([test[i] for i in numbers], model.pad_index, model.eos_index)
        batch.sort_by_src_length()
        least, most = contract.output_lengths(arguments, batch.src.size(1))
        tokens, _, _ = search(
            model=model,
            batch=batch,
            beam_size=arguments.beam,
            beam_alpha=contract.LENGTH_PENALTY,
            max_output_length=most,
            min_output_length=least,
            autocast=autocast | {"dtype": torch.bfloat16},
        )
        watch.lap(len(numbers), count_targets(tokens, model.eos_index))
    return watch


def count_targets(rows: Any, eos: int) -> int:
    """Tokens up to the first EOS of every row, EOS counted."""
    ended = (rows == eos).cumsum(axis=1) - (rows == eos) > 0
    return int((~ended).sum())


if __name__ == "__main__":
    main(ARGUMENTS)
