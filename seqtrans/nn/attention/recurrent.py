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

from seqtrans.nn.attention.multi_head import fused_attention
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
    def attend(
        self, query: Float[Tensor, "B Q D"], memory: ProjectedMemory, state: AttentionState
    ) -> tuple[Float[Tensor, "B Q D"], AttentionState]:
        """Return the context of each query: the mapped mean of memory, weighted by softmax scores.

        Args:
            query: One per hypothesis; for attention without a state, also one per target position.
            memory: Projected memory of the sentences.
            state: State after the previous queries; it is not changed.

        Returns:
            The contexts, and the state after these queries.
        """


class DotAttention(Attention):
    """Scores by the inner product of query and memory (arXiv:1508.04025, ``dot``).

    Args:
        query_dim: Features of a query.
        memory_dim: Features of the memory.

    Raises:
        ValueError: The two differ; ``general`` is this attention for unequal sizes.
    """

    def __init__(self, query_dim: int, memory_dim: int) -> None:
        super().__init__()
        if query_dim != memory_dim:
            raise ValueError(
                f"dot attention needs the decoder's hidden_dim ({query_dim}) to equal the "
                f"encoder's memory_dim ({memory_dim}); use general attention"
            )
        self.output_projection = Linear(memory_dim, query_dim, bias=False)

    def project(self, states: Float[Tensor, "B M I"], mask: Bool[Tensor, "B M"]) -> ProjectedMemory:
        """See ``Attention.project``."""
        return ProjectedMemory(states, self.output_projection(states), mask)

    def attend(
        self, query: Float[Tensor, "B Q D"], memory: ProjectedMemory, state: AttentionState
    ) -> tuple[Float[Tensor, "B Q D"], AttentionState]:
        """See ``Attention.attend``."""
        return _context(query @ memory.key.mT, memory), state


class GeneralAttention(Attention):
    """Scores by a bilinear form of query and memory (arXiv:1508.04025, ``general``).

    Args:
        query_dim: Features of a query.
        memory_dim: Features of the memory.
    """

    def __init__(self, query_dim: int, memory_dim: int) -> None:
        super().__init__()
        self.output_projection = Linear(memory_dim, query_dim, bias=False)
        self.key_projection = Linear(memory_dim, query_dim, bias=False)

    def project(self, states: Float[Tensor, "B M I"], mask: Bool[Tensor, "B M"]) -> ProjectedMemory:
        """See ``Attention.project``."""
        return ProjectedMemory(self.key_projection(states), self.output_projection(states), mask)

    def attend(
        self, query: Float[Tensor, "B Q D"], memory: ProjectedMemory, state: AttentionState
    ) -> tuple[Float[Tensor, "B Q D"], AttentionState]:
        """See ``Attention.attend``."""
        return _context(query @ memory.key.mT, memory), state


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

    def attend(
        self, query: Float[Tensor, "B Q D"], memory: ProjectedMemory, state: AttentionState
    ) -> tuple[Float[Tensor, "B Q D"], AttentionState]:
        """See ``Attention.attend``."""
        query = exponential(self.query_projection(query))
        return _context(tanh_scores(query, memory.key, self.energy), memory), state


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
        if query_dim % num_heads:
            raise ValueError(f"num_heads ({num_heads}) must divide hidden_dim ({query_dim})")
        self.num_heads = num_heads
        self.query_projection = Linear(query_dim, query_dim)
        self.key_projection = Linear(memory_dim, query_dim, bias=False)
        self.value_projection = Linear(memory_dim, query_dim)
        self.output_projection = Linear(query_dim, query_dim, bias=False)

    def project(self, states: Float[Tensor, "B M I"], mask: Bool[Tensor, "B M"]) -> ProjectedMemory:
        """See ``Attention.project``."""
        key, value = self.key_projection(states), self.value_projection(states)
        return ProjectedMemory(self._split(key), self._split(value), mask)

    def attend(
        self, query: Float[Tensor, "B Q D"], memory: ProjectedMemory, state: AttentionState
    ) -> tuple[Float[Tensor, "B Q D"], AttentionState]:
        """See ``Attention.attend``."""
        heads = fused_attention(
            self._split(self.query_projection(query)),
            memory.key,
            memory.value,
            memory.mask[:, None, None],  # (B, 1, 1, M)
        )  # (B, H, Q, E)
        return self.output_projection(heads.transpose(1, 2).flatten(2)), state

    def _split(self, x: Float[Tensor, "B P D"]) -> Float[Tensor, "B H P E"]:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


def _context(scores: Float[Tensor, "B Q M"], memory: ProjectedMemory) -> Float[Tensor, "B Q D"]:
    hidden = scores.masked_fill(~memory.mask[:, None], float("-inf"))
    return hidden.softmax(dim=-1).to(memory.value.dtype) @ memory.value
