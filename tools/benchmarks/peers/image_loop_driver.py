"""The loop that a user of PyTorch writes by hand: nothing but what training needs.

All images lie in memory, normalized. The optimizer is the fused one, which needs to be asked for.
"""

import argparse
from contextlib import AbstractContextManager, nullcontext

import image_contract as contract

ARGUMENTS = contract.parse_arguments()  # sets the number of threads, so before torch

import torch
import torch.nn.functional as F
from image_torch_models import build
from torch import Tensor, nn


def main(arguments: argparse.Namespace) -> None:
    """Train and write the report."""
    torch.manual_seed(arguments.seed)
    model = build(arguments.shape)
    images, labels = tensors(arguments, "train")
    if arguments.precision == "bf16":
        model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        images = images.to(memory_format=torch.channels_last)
    watch = train(arguments, model, images, labels)
    contract.write_report(
        arguments,
        watch,
        accuracy(arguments, model),
        system="hand-written loop",
        version=f"torch {torch.__version__}",
        parameters=sum(p.numel() for p in model.parameters()),
    )


def tensors(arguments: argparse.Namespace, split: str) -> tuple[Tensor, Tensor]:
    """Normalized images of one channel, and their classes."""
    images, labels = map(torch.from_numpy, contract.read(arguments, split))
    return images[:, None], labels


def train(
    arguments: argparse.Namespace, model: nn.Module, images: Tensor, labels: Tensor
) -> contract.Stopwatch:
    """Train for some epochs."""
    optimizer = torch.optim.Adam(
        model.parameters(),
        lr=contract.LEARNING_RATE,
        betas=contract.ADAM_BETAS,
        eps=contract.ADAM_EPSILON,
        fused=True,
    )
    watch = contract.Stopwatch()
    for _ in range(arguments.epochs):
        watch.start()
        total = 0.0
        for chosen in torch.randperm(len(images)).split(contract.BATCH):
            with arithmetic(arguments):
                loss = F.cross_entropy(model(images[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(chosen)
        print(f"loss {total / len(images):.4f}")
        watch.stop()
    return watch


def arithmetic(arguments: argparse.Namespace) -> AbstractContextManager[object]:
    """The context of forward passes."""
    bf16 = arguments.precision == "bf16"
    return torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext()


def accuracy(arguments: argparse.Namespace, model: nn.Module) -> float:
    """Share of the test images that are named right."""
    images, labels = tensors(arguments, "test")
    with torch.inference_mode():
        found = [model.eval()(part).argmax(1) for part in images.split(500)]
    return float((torch.cat(found) == labels).float().mean())


if __name__ == "__main__":
    main(ARGUMENTS)
