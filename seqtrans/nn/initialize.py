"""Initialization schemes, which models apply to their parts."""

import math

from torch import nn


def xavier_linear(module: nn.Module) -> None:
    """Set Xavier-uniform weights and zero biases in every linear map (Glorot, Bengio 2010).

    A fused projection (query, key and value in one) counts as one map, which halves the variance of
    each part, as in the reference code of arXiv:1706.03762.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:  # pyright: ignore[reportUnnecessaryComparison]
                nn.init.zeros_(part.bias)


def he_normal(module: nn.Module) -> None:
    """Set normal weights of variance 2 / inputs and zero biases, for layers before rectifiers.

    It changes every convolution and linear map (arXiv:1502.01852, 2.2); values keep their variance
    through layers whose activation passes about half of them.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def xavier_joint(*parts: nn.Linear) -> None:
    """Initialize maps whose outputs are added as if they were one map of all their inputs."""
    size = sum(part.in_features for part in parts) + parts[0].out_features
    for part in parts:
        nn.init.uniform_(part.weight, -math.sqrt(6 / size), math.sqrt(6 / size))


def scaled_normal_embedding(embedding: nn.Embedding) -> None:
    """Set normal weights of variance 1 / size: rows have length about 1 (arXiv:1706.03762)."""
    nn.init.normal_(embedding.weight, std=embedding.embedding_dim**-0.5)


def he_convolutions(module: nn.Module) -> None:
    """Set He-normal weights by fan-out, and zero biases, in every convolution.

    They keep the variance of the gradient across a convolution and a ReLU (arXiv:1502.01852, 2.2).
    The fan-out of an input channel counts only the output channels of its group.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            fan_out = part.out_channels // part.groups * math.prod(part.kernel_size)
            nn.init.normal_(part.weight, std=math.sqrt(2 / fan_out))
            if part.bias is not None:
                nn.init.zeros_(part.bias)
