"""Attention of recurrent decoders, with several score functions.

An attention first maps memory to a ``ProjectedMemory`` (``project``, once per sentence), then
computes the contexts of queries (``attend``), mapped to the size of a query. Since the map is
linear, attention with a single head maps the memory once instead of every context.
"""

import math
from abc import ABC, abstractmethod
from typing import NamedTuple, TypeAlias

import torch
from torch import nn

from seqtrans.nn.attention.multi_head import (
    fused_attention,
    head_dim,
    head_weights,
    join_heads,
    split_heads,
)
from seqtrans.nn.kernels.additive_scores import exponential, tanh_scores
from seqtrans.nn.kernels.linear import Linear
from seqtrans.tensor_types import Bool, Float, Int, Shaped, Tensor

AttentionState: TypeAlias = tuple[Shaped[Tensor, "B Q ..."], ...]
"""State of an attention after the previous queries, per hypothesis; may be empty."""


class ProjectedMemory(NamedTuple):
    """Keys, values and mask of memory positions; the axis of heads is optional."""

    key: Float[Tensor, "B *H M E"]
    value: Float[Tensor, "B *H M E"]
    mask: Bool[Tensor, "B M"]

    def keep(self, sentence: Int[Tensor, " R"]) -> "ProjectedMemory":
        """Keep only these sentences."""
        return ProjectedMemory(self.key[sentence], self.value[sentence], self.mask[sentence])


class Attention(nn.Module, ABC):
    """Interface of attention in recurrent decoders."""

    output_projection: Linear
    """Maps a context to the size of a query."""

    @abstractmethod
    def project(self, states: Float[Tensor, "B M I"], mask: Bool[Tensor, "B M"]) -> ProjectedMemory:
        """Prepare memory for many queries."""

    def begin(self, memory: ProjectedMemory) -> AttentionState:
        """Return the state before the first query; empty if queries do not depend on each other."""
        del memory
        return ()

    @abstractmethod
    def weigh(
        self, query: Float[Tensor, "B Q D"], memory: ProjectedMemory, state: AttentionState
    ) -> tuple[Float[Tensor, "B Q M"], AttentionState]:
        """Return the weight of each position of memory for each query; of several heads, the mean.

        Args:
            query: One per hypothesis; for attention without a state, also one per target position.
            memory: Projected memory of the sentences.
            state: State after the previous queries; it is not changed.

        Returns:
            The weights, which sum to 1, and the state after these queries.
        """

    def attend(
        self, query: Float[Tensor, "B Q D"], memory: ProjectedMemory, state: AttentionState
    ) -> tuple[Float[Tensor, "B Q D"], AttentionState]:
        """Return the context of each query: the mapped mean of memory, weighted by ``weigh``."""
        weights, state = self.weigh(query, memory, state)
        return weights @ memory.value, state


class DotAttention(Attention):
    """Scores by the inner product of query and memory (arXiv:1508.04025, ``dot``).

    Args:
        query_dim: Features of a query.
        memory_dim: Features of the memory; equal to ``query_dim``.
    """

    def __init__(self, query_dim: int, memory_dim: int) -> None:
        super().__init__()
        self.output_projection = Linear(memory_dim, query_dim, bias=False)

    def project(self, states: Float[Tensor, "B M I"], mask: Bool[Tensor, "B M"]) -> ProjectedMemory:
        """See ``Attention.project``."""
        return ProjectedMemory(states, self.output_projection(states), mask)

    def weigh(
        self, query: Float[Tensor, "B Q D"], memory: ProjectedMemory, state: AttentionState
    ) -> tuple[Float[Tensor, "B Q M"], AttentionState]:
        """See ``Attention.weigh``."""
        return attention_weights(query @ memory.key.mT, memory), state


class GeneralAttention(DotAttention):
    """Scores by a bilinear form of query and memory (arXiv:1508.04025, ``general``).

    Args:
        query_dim: Features of a query.
        memory_dim: Features of the memory.
    """

    def __init__(self, query_dim: int, memory_dim: int) -> None:
        super().__init__(query_dim, memory_dim)
        self.key_projection = Linear(memory_dim, query_dim, bias=False)

    def project(self, states: Float[Tensor, "B M I"], mask: Bool[Tensor, "B M"]) -> ProjectedMemory:
        """See ``Attention.project``."""
        return ProjectedMemory(self.key_projection(states), self.output_projection(states), mask)


class AdditiveAttention(Attention):
    """Scores by a network with one hidden layer, v . tanh(W q + U m) (arXiv:1409.0473).

    Args:
        query_dim: Features of a query, and of the hidden layer.
        memory_dim: Features of the memory.
    """

    def __init__(self, query_dim: int, memory_dim: int) -> None:
        super().__init__()
        self.output_projection = Linear(memory_dim, query_dim, bias=False)
        self.query_projection = Linear(query_dim, query_dim, bias=False)
        self.key_projection = Linear(memory_dim, query_dim)
        self.energy = nn.Parameter(torch.empty(query_dim))
        bound = 1 / math.sqrt(query_dim)
        nn.init.uniform_(self.energy, -bound, bound)

    def project(self, states: Float[Tensor, "B M I"], mask: Bool[Tensor, "B M"]) -> ProjectedMemory:
        """See ``Attention.project``."""
        key = exponential(self.key_projection(states))
        return ProjectedMemory(key, self.output_projection(states), mask)

    def weigh(
        self, query: Float[Tensor, "B Q D"], memory: ProjectedMemory, state: AttentionState
    ) -> tuple[Float[Tensor, "B Q M"], AttentionState]:
        """See ``Attention.weigh``."""
        query = exponential(self.query_projection(query))
        return attention_weights(tanh_scores(query, memory.key, self.energy), memory), state


class MultiHeadDotAttention(Attention):
    """Scaled dot products in several subspaces (arXiv:1706.03762, 3.2.2).

    Keys have no bias, which the softmax would cancel.

    Args:
        query_dim: Features of a query and of the context.
        memory_dim: Features of the memory.
        num_heads: Number of subspaces; must divide ``query_dim``.

    Raises:
        ValueError: ``num_heads`` does not divide ``query_dim``.
    """

    def __init__(self, query_dim: int, memory_dim: int, num_heads: int) -> None:
        super().__init__()
        self.head_dim = head_dim(query_dim, num_heads)
        self.query_projection = Linear(query_dim, query_dim)
        self.key_projection = Linear(memory_dim, query_dim, bias=False)
        self.value_projection = Linear(memory_dim, query_dim)
        self.output_projection = Linear(query_dim, query_dim, bias=False)

    def project(self, states: Float[Tensor, "B M I"], mask: Bool[Tensor, "B M"]) -> ProjectedMemory:
        """See ``Attention.project``."""
        key, value = self.key_projection(states), self.value_projection(states)
        return ProjectedMemory(
            split_heads(key, self.head_dim), split_heads(value, self.head_dim), mask
        )

    def weigh(
        self, query: Float[Tensor, "B Q D"], memory: ProjectedMemory, state: AttentionState
    ) -> tuple[Float[Tensor, "B Q M"], AttentionState]:
        """See ``Attention.weigh``."""
        heads = split_heads(self.query_projection(query), self.head_dim)
        return head_weights(heads, memory.key, memory.mask).mean(1), state

    def attend(
        self, query: Float[Tensor, "B Q D"], memory: ProjectedMemory, state: AttentionState
    ) -> tuple[Float[Tensor, "B Q D"], AttentionState]:
        """See ``Attention.attend``."""
        heads = fused_attention(
            split_heads(self.query_projection(query), self.head_dim),
            memory.key,
            memory.value,
            memory.mask[:, None, None],  # (B, 1, 1, M)
        )
        return self.output_projection(join_heads(heads)), state


def attention_weights(
    scores: Float[Tensor, "B Q M"], memory: ProjectedMemory
) -> Float[Tensor, "B Q M"]:
    """Return the softmax of scores over the positions of memory, in the type of its values."""
    masked = scores.masked_fill(~memory.mask[:, None], float("-inf"))
    return masked.softmax(dim=-1).to(memory.value.dtype)
