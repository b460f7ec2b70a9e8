"""One function per initialisation scheme; models apply them, blocks don't."""

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


def xavier_joint(*parts: nn.Linear) -> None:
    """Weights of maps whose outputs are added, as if they were one map of all their inputs."""
    size = sum(part.in_features for part in parts) + parts[0].out_features
    for part in parts:
        nn.init.uniform_(part.weight, -math.sqrt(6 / size), math.sqrt(6 / size))


def scaled_normal_embedding(embedding: nn.Embedding) -> None:
    """Normal weights of variance 1 / size: rows have length 1 on average (arXiv:1706.03762)."""
    nn.init.normal_(embedding.weight, std=embedding.embedding_dim**-0.5)
