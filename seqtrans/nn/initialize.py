"""One function per initialization scheme; models apply them, blocks don't."""

import math

from torch import nn


def xavier_linear(module: nn.Module) -> None:
    """Xavier-uniform weights and zero biases for every linear map inside (Glorot, Bengio 2010).

    A fused projection (query, key and value in one) counts as one map, which gives each part
    Xavier's variance halved, as in the reference code of arXiv:1706.03762.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:  # pyright: ignore[reportUnnecessaryComparison]
                nn.init.zeros_(part.bias)


def he_normal(module: nn.Module) -> None:
    """Normal weights of variance 2 / inputs and zero biases, for what feeds rectifiers.

    Every convolution and every linear map inside (arXiv:1502.01852, 2.2); values keep their size
    through layers whose activation passes about half of them.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def xavier_joint(*parts: nn.Linear) -> None:
    """Weights of maps whose outputs are added, as if they were one map of all their inputs."""
    size = sum(part.in_features for part in parts) + parts[0].out_features
    for part in parts:
        nn.init.uniform_(part.weight, -math.sqrt(6 / size), math.sqrt(6 / size))


def scaled_normal_embedding(embedding: nn.Embedding) -> None:
    """Normal weights of variance 1 / size: rows have length 1 on average (arXiv:1706.03762)."""
    nn.init.normal_(embedding.weight, std=embedding.embedding_dim**-0.5)


def he_convolutions(module: nn.Module) -> None:
    """He-normal weights, by what leaves, and zero biases for every convolution inside.

    They keep the size of the gradient across a convolution and a ReLU (arXiv:1502.01852, 2.2).
    What leaves one input channel goes to the channels of its group alone.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            leaving = part.out_channels // part.groups * math.prod(part.kernel_size)
            nn.init.normal_(part.weight, std=math.sqrt(2 / leaving))
            if part.bias is not None:
                nn.init.zeros_(part.bias)
