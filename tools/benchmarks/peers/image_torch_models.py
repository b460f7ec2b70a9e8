"""The models of ``benchmarks/images.py`` in plain PyTorch, for the loop and for Lightning."""

import image_contract as contract
from torch import nn


def build(shape: str) -> nn.Module:
    """The model of a shape with fresh weights."""
    if shape == "mlp":
        first, second = contract.MLP_WIDTHS
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(contract.SIDE**2, first),
            nn.ReLU(),
            nn.Linear(first, second),
            nn.ReLU(),
            nn.Linear(second, contract.CLASSES),
        )
    first, second = contract.FILTERS
    return nn.Sequential(
        nn.Conv2d(1, first, contract.KERNEL),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(first, second, contract.KERNEL),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(contract.LENET_FEATURES, contract.LENET_WIDTH),
        nn.ReLU(),
        nn.Linear(contract.LENET_WIDTH, contract.CLASSES),
    )
