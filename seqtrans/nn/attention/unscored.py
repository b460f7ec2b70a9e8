"""Attention that does not compare queries with memory: by location, or fixed."""

import torch
from torch import nn
from torch.nn.functional import one_hot

from seqtrans.nn.attention.recurrent import (
    Attention,
    AttentionState,
    ProjectedMemory,
    attention_weights,
)
from seqtrans.nn.kernels.linear import Linear, linear
from seqtrans.nn.positions import at_last_position
from seqtrans.tensor_types import Bool, Float, Tensor


class _WithoutKeys(Attention):
    """Attention to memory that no query is compared with."""

    def __init__(self, query_dim: int, memory_dim: int) -> None:
        super().__init__()
        self.output_projection = Linear(memory_dim, query_dim, bias=False)

    def project(self, states: Float[Tensor, "B M I"], mask: Bool[Tensor, "B M"]) -> ProjectedMemory:
        """See ``Attention.project``; there are no keys, values stand in their place."""
        value = self.output_projection(states)
        return ProjectedMemory(value, value, mask)


class LocationAttention(_WithoutKeys):
    """Scores positions by the query alone, with a vector per position (arXiv:1508.04025, 3.1).

    Args:
        query_dim: Features of a query.
        memory_dim: Features of the memory.
        max_positions: Number of vectors; source positions after them score like the last.
    """

    def __init__(self, query_dim: int, memory_dim: int, max_positions: int) -> None:
        super().__init__(query_dim, memory_dim)
        # Its weights are used row by row, so it is no ``Linear``, whose call may be adapted.
        self.location_projection = nn.Linear(query_dim, max_positions)

    def weigh(
        self, query: Float[Tensor, "B Q D"], memory: ProjectedMemory, state: AttentionState
    ) -> tuple[Float[Tensor, "B Q M"], AttentionState]:
        """See ``Attention.weigh``."""
        last = self.location_projection.out_features - 1
        position = torch.arange(memory.mask.size(1), device=query.device).clamp(max=last)
        weight, bias = self.location_projection.weight, self.location_projection.bias
        scores = linear(query, weight[position], bias[position])
        return attention_weights(scores, memory), state


class LastStateAttention(_WithoutKeys):
    """Always returns the memory at the last real position, as if there were no attention.

    The decoder reads the source from a vector of fixed size (arXiv:1409.3215).

    Args:
        query_dim: Features of a query, and of the context.
        memory_dim: Features of the memory.
    """

    def weigh(
        self, query: Float[Tensor, "B Q D"], memory: ProjectedMemory, state: AttentionState
    ) -> tuple[Float[Tensor, "B Q M"], AttentionState]:
        """See ``Attention.weigh``."""
        last = one_hot(memory.mask.sum(dim=1) - 1, memory.mask.size(1)).to(memory.value.dtype)
        return last[:, None].expand(-1, query.size(1), -1), state

    def attend(
        self, query: Float[Tensor, "B Q D"], memory: ProjectedMemory, state: AttentionState
    ) -> tuple[Float[Tensor, "B Q D"], AttentionState]:
        """See ``Attention.attend``."""
        last = at_last_position(memory.value, memory.mask)
        return last[:, None].expand(-1, query.size(1), -1), state
