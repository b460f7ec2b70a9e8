"""Trains with Lightning: a LightningModule and its Trainer.

Batches are indexed out of tensors at once, by a batch sampler: the usual ``DataLoader(dataset,
batch_size=128)`` takes image by image and is slower.
"""

import argparse

import image_contract as contract

ARGUMENTS = contract.parse_arguments()  # sets the number of threads, so before torch

import lightning
import torch
import torch.nn.functional as F
from image_torch_models import build
from torch import Tensor, nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    RandomSampler,
    TensorDataset,
)


class Module(lightning.LightningModule):
    """What the hand-written loop does, in Lightning's terms."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def training_step(self, batch: tuple[Tensor, Tensor], number: int) -> Tensor:  # noqa: ARG002
        """Called by Lightning."""
        images, labels = batch
        return F.cross_entropy(self.model(images), labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Called by Lightning."""
        return torch.optim.Adam(
            self.parameters(),
            lr=contract.LEARNING_RATE,
            betas=contract.ADAM_BETAS,
            eps=contract.ADAM_EPSILON,
            fused=True,
        )


class Laps(lightning.Callback):
    """Looks at the clock at both ends of an epoch."""

    def __init__(self) -> None:
        self.watch = contract.Stopwatch()

    def on_train_epoch_start(self, *_unused: object) -> None:
        """Called by Lightning."""
        self.watch.start()

    def on_train_epoch_end(self, *_unused: object) -> None:
        """Called by Lightning."""
        self.watch.stop()


def main(arguments: argparse.Namespace) -> None:
    """Train and write the report."""
    lightning.seed_everything(arguments.seed, verbose=False)
    module, laps = Module(build(arguments.shape)), Laps()
    dataset = TensorDataset(*tensors(arguments, "train"))
    sampler = BatchSampler(RandomSampler(dataset), contract.BATCH, drop_last=False)
    lightning.Trainer(
        max_epochs=arguments.epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[laps],
    ).fit(module, DataLoader(dataset, sampler=sampler, batch_size=None))
    images, labels = tensors(arguments, "test")
    with torch.inference_mode():
        found = torch.cat([module.model.eval()(part).argmax(1) for part in images.split(500)])
    contract.write_report(
        arguments,
        laps.watch,
        float((found == labels).float().mean()),
        system="Lightning",
        version=f"{lightning.__version__} (torch {torch.__version__})",
        parameters=sum(p.numel() for p in module.parameters()),
    )


def tensors(arguments: argparse.Namespace, split: str) -> tuple[Tensor, Tensor]:
    """Normalized images of one channel, and their classes."""
    images, labels = map(torch.from_numpy, contract.read(arguments, split))
    return images[:, None], labels


if __name__ == "__main__":
    main(ARGUMENTS)
