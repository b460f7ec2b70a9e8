"""Trains and translates with fairseq, for ``equal_time.py`` (runs in its environment)."""

import argparse
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import clock

ARGUMENTS = clock.parse_arguments()  # sets the number of threads, so before torch
sys.path.append(str(Path(__file__).parents[1] / "peers"))

import torch
from fairseq_repairs import allow_dataclass_defaults, say_mask_type

allow_dataclass_defaults()
say_mask_type()

import fairseq_cli.train
from fairseq import options, tasks
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.trainer import Trainer
from fairseq_cli import preprocess


def prepare(arguments: argparse.Namespace) -> None:
    """Run fairseq-preprocess over the pieces with the given vocabulary."""
    corpus, dictionary = arguments.corpus, arguments.corpus / "fairseq.dictionary"
    pieces = (corpus / "vocabulary.txt").read_text(encoding="utf-8").splitlines()
    clock.write_lines(dictionary, [f"{piece} 1" for piece in pieces])
    command = ["--source-lang", "source", "--target-lang", "target", "--joined-dictionary"]
    for option, split in (("train", "train"), ("valid", "dev"), ("test", "test")):
        command += [f"--{option}pref", str(corpus / "pieces" / split)]
    command += ["--srcdict", str(dictionary), "--destdir", str(corpus / "fairseq")]
    sys.argv = ["fairseq-preprocess", *command]
    preprocess.cli_main()


def configuration(arguments: argparse.Namespace) -> Any:
    """Return the configuration that fairseq-train makes of its command line."""
    command = [str(arguments.corpus / "fairseq"), "--task", "translation", "--cpu"]
    command += ["--source-lang", "source", "--target-lang", "target", "--seed"]
    command += [str(arguments.seed), "--save-dir", str(arguments.run / "fairseq")]
    command += ["--no-save", "--disable-validation", "--log-format", "simple"]
    command += ["--num-workers", "0", "--log-interval", "50"]
    for name, value in clock.settings_of(arguments).items():
        command += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    args = options.parse_args_and_arch(options.get_training_parser(), input_args=command)
    return convert_namespace_to_omegaconf(args)


def train(arguments: argparse.Namespace) -> None:
    """Run fairseq-train's own ``main`` until the time is up."""
    trainers: list[Trainer] = []

    def save(path: Path) -> None:
        torch.save(trainers[0].get_model().state_dict(), path)

    watch, train_step = clock.Clock(arguments, save), Trainer.train_step

    def timed_step(trainer: Trainer, *rest: Any, **options: Any) -> Any:
        trainers[:] = [trainer]
        watch.start()
        output = train_step(trainer, *rest, **options)
        watch.update()
        return output

    Trainer.train_step = timed_step
    try:
        fairseq_cli.train.main(configuration(arguments))
    except clock.TimeIsUpError:
        return


@torch.inference_mode()
def translate(arguments: argparse.Namespace) -> None:
    """Search with the generator that fairseq-generate builds."""
    config = configuration(arguments)
    task = tasks.setup_task(config.task)
    model = task.build_model(config.model)
    model.load_state_dict(torch.load(arguments.weights))
    model.eval()
    model.prepare_for_inference_(config)
    split = {"dev": "valid", "test": "test"}[arguments.split]
    task.load_dataset(split)
    lengths = {"max_len_a": 1.2, "max_len_b": 10}  # as in its README for IWSLT'14
    generator = task.build_generator([model], Namespace(beam=clock.BEAM, **lengths))
    batches = task.get_batch_iterator(task.dataset(split), max_tokens=2048)
    found: dict[int, str] = {}
    for sample in batches.next_epoch_itr(shuffle=False):
        hypotheses = task.inference_step(generator, [model], sample)
        for number, best in zip(sample["id"].tolist(), hypotheses, strict=True):
            found[number] = task.target_dictionary.string(best[0]["tokens"])
    clock.write_lines(arguments.output, [found[i] for i in range(len(found))])


if __name__ == "__main__":
    {"prepare": prepare, "train": train, "translate": translate}[ARGUMENTS.action](ARGUMENTS)
