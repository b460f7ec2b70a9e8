"""Trains and decodes with fairseq (runs in its environment; see ../README.md)."""

import argparse
import shutil
import sys
import tempfile
from argparse import Namespace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import contract

ARGUMENTS = contract.parse_arguments()  # sets the number of threads, so before torch

import torch
from fairseq_repairs import allow_dataclass_defaults, say_mask_type

allow_dataclass_defaults()
say_mask_type()

import fairseq_cli.train
from fairseq import options, tasks, utils
from fairseq.data import LanguagePairDataset
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.trainer import Trainer
from fairseq_cli import preprocess


def main(arguments: argparse.Namespace) -> None:
    """Do what the command line says and write the report."""
    data = arguments.corpus / "fairseq"
    if not data.exists():
        binarise(arguments.corpus, data)
    run = run_training if arguments.action == "train" else run_decoding
    watch, parameters = run(arguments, data)
    contract.write_report(
        arguments,
        watch,
        system="fairseq",
        version=version("fairseq"),
        torch=torch.__version__,
        parameters=parameters,
    )


def binarise(corpus: Path, folder: Path) -> None:
    """Run fairseq-preprocess over the pieces with the given vocabulary."""
    with tempfile.TemporaryDirectory(dir=corpus) as aside:
        dictionary = Path(aside) / "dictionary.txt"
        pieces = (corpus / "vocabulary.txt").read_text(encoding="utf-8").splitlines()
        dictionary.write_text("".join(f"{piece} 1\n" for piece in pieces), encoding="utf-8")
        command = ["--source-lang", "source", "--target-lang", "target", "--joined-dictionary"]
        command += ["--trainpref", str(corpus / "pieces" / "train")]
        command += ["--testpref", str(corpus / "pieces" / "test"), "--srcdict", str(dictionary)]
        command += ["--destdir", str(Path(aside) / "data")]
        sys.argv = ["fairseq-preprocess", *command]
        preprocess.cli_main()
        shutil.move(Path(aside) / "data", folder)


def training_command(arguments: argparse.Namespace, data: Path, folder: Path) -> list[str]:
    """The command line that fairseq-train would get."""
    options_of: dict[str, Any] = {
        "task": "translation",
        "source-lang": "source",
        "target-lang": "target",
        "seed": contract.SEED,
        "max-tokens": arguments.batch_tokens,
        "max-update": arguments.warmup + arguments.updates,
        "criterion": "label_smoothed_cross_entropy",
        "label-smoothing": contract.LABEL_SMOOTHING,
        "optimizer": "adam",
        "adam-betas": str(contract.ADAM_BETAS),
        "lr": contract.LEARNING_RATE,
        "lr-scheduler": "inverse_sqrt",
        "warmup-updates": contract.LEARNING_RATE_WARMUP,
        "clip-norm": contract.CLIP_NORM,
        "valid-subset": "test",  # loaded, not used
        "num-workers": 0,
        "required-batch-size-multiple": 1,
        "log-format": "none",
        "log-interval": 1_000_000,
        "save-dir": folder,
    }
    flags = ["--cpu", "--share-all-embeddings", "--no-save", "--disable-validation"]
    if arguments.precision == "bf16":
        flags.append("--bf16")
    if arguments.batches == "shared":
        options_of["curriculum"] = 1_000_000  # epochs without shuffling
    options_of |= model_options(contract.SHAPES[arguments.shape])
    named = [part for name, value in options_of.items() for part in (f"--{name}", str(value))]
    return [str(data), *named, *flags, *model_flags(contract.SHAPES[arguments.shape])]


def model_options(shape: contract.Shape) -> dict[str, Any]:
    """The model's sizes as fairseq-train's options."""
    if shape.kind == "recurrent":
        # Always with input feeding, and with a bilinear attention: fairseq has no other.
        sizes = dict.fromkeys(["encoder-embed-dim", "encoder-hidden-size"], shape.dim)
        sizes |= dict.fromkeys(["decoder-embed-dim", "decoder-hidden-size"], shape.dim)
        sizes |= {"decoder-out-embed-dim": shape.dim, "decoder-attention": 1}
        sizes |= dict.fromkeys(["encoder-layers", "decoder-layers"], shape.layers)
        return {"arch": "lstm", "dropout": contract.DROPOUT, **sizes}
    both = {
        "embed-dim": shape.dim,
        "ffn-embed-dim": shape.ffn_dim,
        "attention-heads": shape.heads,
        "layers": shape.layers,
    }
    halves = {f"{half}-{name}": both[name] for half in ("encoder", "decoder") for name in both}
    rates = dict.fromkeys(["dropout", "attention-dropout", "activation-dropout"], contract.DROPOUT)
    return {"arch": "transformer", **halves, **rates}


def model_flags(shape: contract.Shape) -> list[str]:
    """The model's switches as fairseq-train's options."""
    return ["--encoder-bidirectional"] if shape.kind == "recurrent" else []


def run_training(arguments: argparse.Namespace, data: Path) -> tuple[contract.Stopwatch, int]:
    """Run fairseq-train's own ``main`` and look at the clock after every update."""
    if arguments.batches == "shared":
        batches = contract.shared_batches(arguments.corpus, "train")
        LanguagePairDataset.batch_by_size = lambda *_, **__: batches
    watch = contract.Stopwatch(arguments.warmup)
    trainers: list[Trainer] = []
    train_step = Trainer.train_step

    def timed_step(trainer: Trainer, samples: list[dict[str, Any]], **rest: Any) -> Any:
        if not trainers:
            trainers.append(trainer)
            watch.restart()
        output = train_step(trainer, samples, **rest)
        watch.lap(sum(s["nsentences"] for s in samples), sum(s["ntokens"] for s in samples))
        return output

    Trainer.train_step = timed_step
    with tempfile.TemporaryDirectory() as folder:
        parser = options.get_training_parser()
        command = training_command(arguments, data, Path(folder))
        args = options.parse_args_and_arch(parser, input_args=command)
        fairseq_cli.train.main(convert_namespace_to_omegaconf(args))
    if arguments.save:
        arguments.save.mkdir(parents=True, exist_ok=True)
        torch.save(trainers[0].get_model().state_dict(), arguments.save / "fairseq.pt")
    # Encoder layers hold a second copy of their weights for a path that training does not take.
    trained = (p for p in trainers[0].model.parameters() if p.grad is not None)
    return watch, sum(p.numel() for p in trained)


@torch.inference_mode()
def run_decoding(arguments: argparse.Namespace, data: Path) -> tuple[contract.Stopwatch, int]:
    """Search with the generator that fairseq-generate builds, from line numbers to token ids."""
    parser = options.get_training_parser()
    command = training_command(arguments, data, Path("unused"))
    config = convert_namespace_to_omegaconf(options.parse_args_and_arch(parser, command))
    task = tasks.setup_task(config.task)
    utils.set_torch_seed(contract.SEED)
    model = task.build_model(config.model)
    file = arguments.weights and arguments.weights / "fairseq.pt"
    # Only loading weights opens fairseq's fast path, so random ones are loaded, too.
    model.load_state_dict(torch.load(file) if file else model.state_dict())
    model.eval()
    model.prepare_for_inference_(config)
    task.load_dataset("test")
    test = task.dataset("test")
    generator = task.build_generator(
        [model], Namespace(beam=arguments.beam, lenpen=contract.LENGTH_PENALTY)
    )
    batches = contract.shared_batches(arguments.corpus, "test")
    watch = contract.Stopwatch(warmup=len(batches) * arguments.warmup)
    for numbers in batches * (arguments.warmup + arguments.passes):
        watch.restart()
        sample = test.collater([test[i] for i in numbers])
        least, most = contract.output_lengths(arguments, sample["net_input"]["src_tokens"].size(1))
        # fairseq's lengths are without EOS, which it adds after the last token.
        generator.min_len, generator.max_len_a, generator.max_len_b = least - 1, 0, most - 1
        found = task.inference_step(generator, [model], sample)
        watch.lap(len(numbers), sum(len(hypotheses[0]["tokens"]) for hypotheses in found))
    return watch, sum(p.numel() for p in model.parameters())


if __name__ == "__main__":
    main(ARGUMENTS)
