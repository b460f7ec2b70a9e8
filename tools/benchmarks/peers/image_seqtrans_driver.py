"""Trains with seqtrans, through its own recipe and Trainer."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import image_contract as contract

ARGUMENTS = contract.parse_arguments()  # sets the number of threads, so before torch

import torch
from torch import nn

from seqtrans.images.data.batches import ImageBatch
from seqtrans.images.data.normalize import Normalization
from seqtrans.images.data.readers.npz import NpzFiles
from seqtrans.images.models.build import build_image_model
from seqtrans.images.models.lenet import LeNetConfig
from seqtrans.images.models.mlp import MlpConfig
from seqtrans.images.recipe.build import build_classification
from seqtrans.images.recipe.load_data import ImageSets, load_image_sets
from seqtrans.images.recipe.schema import (
    ClassificationRecipe,
    ImageDataConfig,
    ImageStoppingConfig,
    ImageTrainingConfig,
)
from seqtrans.images.task import ClassificationTask
from seqtrans.protocols import ProcessGroup
from seqtrans.training.optim.optimizer import AdamConfig
from seqtrans.training.optim.schedule import ConstantConfig
from seqtrans.training.reporting.loggers import ConsoleLogger, JsonLinesLogger, log_to_stderr
from seqtrans.training.trainer import Trainer

LOG_EVERY = 223  # as in the recipes


class TimedTask(ClassificationTask):
    """The task, looking at the clock where the trainer begins an epoch and where it has done it.

    Validation, which follows an epoch here, does not count; logging does.
    """

    watch = contract.Stopwatch()
    accuracies: tuple[float, ...] = ()

    def updates(
        self, epoch: int, group: ProcessGroup, start: int = 0
    ) -> Iterator[Sequence[ImageBatch]]:
        """See ``Task.updates``."""
        self.watch.start()
        return super().updates(epoch, group, start)

    def validate(self, model: nn.Module, group: ProcessGroup) -> Mapping[str, float]:
        """See ``Task.validate``."""
        self.watch.stop()
        metrics = super().validate(model, group)
        TimedTask.accuracies = (*self.accuracies, metrics["accuracy"])
        return metrics


def main(arguments: argparse.Namespace) -> None:
    """Train and write the report."""
    recipe = recipe_of(arguments)
    sets = shortened(load_image_sets(recipe.data, None), contract.SHAPES[arguments.shape])
    torch.manual_seed(recipe.training.seed)
    model = build_image_model(
        recipe.model, sets.facts.input_shape(recipe.data.resize), contract.CLASSES
    )
    task = TimedTask(**vars(build_classification(recipe, sets, model)))
    with TemporaryDirectory() as folder, log_to_stderr(), ConsoleLogger(task.unit) as console:
        loggers = [JsonLinesLogger(Path(folder) / "metrics.jsonl"), console]
        Trainer(task, model, recipe.training, loggers=loggers).fit()
    contract.write_report(
        arguments,
        task.watch,
        task.accuracies[-1],
        system="seqtrans",
        version=f"{version('seqtrans')} (torch {torch.__version__})",
        parameters=sum(p.numel() for p in model.parameters()),
    )


def recipe_of(arguments: argparse.Namespace) -> ClassificationRecipe:
    """The recipe of the run; the test images are those it is validated by."""
    train, test = (NpzFiles(path=arguments.data / f"{split}.npz") for split in ("train", "test"))
    lenet = LeNetConfig(filters=contract.FILTERS, widths=(contract.LENET_WIDTH,), padding=0)
    return ClassificationRecipe(
        task="classification",
        data=ImageDataConfig(
            train=train,
            validation=test,
            batch_size=contract.BATCH,
            normalisation=Normalization(mean=(contract.MEAN,), std=(contract.STD,)),
        ),
        model=MlpConfig(widths=contract.MLP_WIDTHS) if arguments.shape == "mlp" else lenet,
        training=ImageTrainingConfig(
            seed=arguments.seed,
            max_epochs=arguments.epochs,
            precision=arguments.precision,
            clip_norm=None,
            optimizer=AdamConfig(
                learning_rate=contract.LEARNING_RATE,
                betas=contract.ADAM_BETAS,
                epsilon=contract.ADAM_EPSILON,
            ),
            schedule=ConstantConfig(),
            log_every_steps=LOG_EVERY,
            stopping=ImageStoppingConfig(metric="accuracy", patience=None),
        ),
    )


def shortened(sets: ImageSets, count: int) -> ImageSets:
    """The first ``count`` images to learn from, and all others."""
    numbers = torch.arange(count).numpy()
    return ImageSets(sets.train.take(numbers), sets.validation, sets.facts)


if __name__ == "__main__":
    main(ARGUMENTS)
