"""Attention that knows how much of each source position was translated (arXiv:1601.04811)."""

import math
from collections.abc import Callable, Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from seqtrans.nn.attention.recurrent import (
    AdditiveAttention,
    Attention,
    AttentionState,
    ProjectedMemory,
    attention_weights,
)
from seqtrans.nn.kernels.linear import Linear
from seqtrans.nn.recurrent.cells import gru_state
from seqtrans.tensor_types import Bool, Float, Tensor

CoverageUpdate = Literal["tanh", "sigmoid", "relu", "softplus", "gru"]
_ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "softplus": F.softplus,
}


class CoverageAttention(Attention):
    """Additive attention whose scores also depend on a coverage vector of each source position.

    The score of query q and position m is v . tanh(W q + U m + C c) with the coverage c of the
    position, which is zero at first. After a step in which the position had the weight a, it is
    g(R c + w a + P m + Q q) (section 3.1.2 of the paper) or, with ``gru``, the state of a gated
    recurrent unit that reads a, m and q.

    Args:
        query_dim: Features of a query, and of the hidden layer.
        memory_dim: Features of the memory.
        coverage_dim: Features of a coverage vector.
        update: The activation g, or ``gru``.
    """

    def __init__(
        self, query_dim: int, memory_dim: int, coverage_dim: int, update: CoverageUpdate = "tanh"
    ) -> None:
        super().__init__()
        self.activation = _ACTIVATIONS.get(update)  # None: gru
        gates = 3 * coverage_dim if self.activation is None else coverage_dim
        self.coverage_dim = coverage_dim
        self.sizes = (query_dim, gates)
        self.output_projection = Linear(memory_dim, query_dim, bias=False)
        self.query_projection = Linear(query_dim, query_dim, bias=False)
        self.key_projection = Linear(memory_dim, query_dim)
        self.coverage_projection = Linear(coverage_dim, query_dim, bias=False)
        self.energy = nn.Parameter(torch.empty(query_dim))
        bound = 1 / math.sqrt(query_dim)
        nn.init.uniform_(self.energy, -bound, bound)
        self.update_coverage = Linear(coverage_dim, gates)
        self.update_weight = Linear(1, gates, bias=False)
        self.update_memory = Linear(memory_dim, gates, bias=False)
        self.update_query = Linear(query_dim, gates, bias=False)

    def project(self, states: Float[Tensor, "B M I"], mask: Bool[Tensor, "B M"]) -> ProjectedMemory:
        """See ``Attention.project``; a key holds memory's part of the scores, then of updates."""
        key = torch.cat((self.key_projection(states), self.update_memory(states)), dim=-1)
        return ProjectedMemory(key, self.output_projection(states), mask)

    def begin(self, memory: ProjectedMemory) -> AttentionState:
        """See ``Attention.begin``: the coverage (B, 1, M, C) of one hypothesis per sentence."""
        return (torch.zeros_like(memory.key[:, None, :, : self.coverage_dim]),)

    def weigh(
        self, query: Float[Tensor, "B Q D"], memory: ProjectedMemory, state: AttentionState
    ) -> tuple[Float[Tensor, "B Q M"], AttentionState]:
        """See ``Attention.weigh``."""
        (coverage,) = state  # (B, Q, M, C)
        key, update = memory.key[:, None].split(self.sizes, dim=-1)  # (B, 1, M, D), (B, 1, M, G)
        hidden = self.query_projection(query)[:, :, None] + key + self.coverage_projection(coverage)
        weights = attention_weights(hidden.tanh() @ self.energy.to(hidden.dtype), memory)
        recurrent = self.update_coverage(coverage)
        seen = self.update_weight(weights[..., None])
        asked = self.update_query(query)[:, :, None]
        if self.activation is None:
            coverage = gru_state(seen + update + asked, recurrent, coverage)
        else:
            coverage = self.activation(recurrent + seen + update + asked)
        return weights, (coverage,)


class CountCoverageAttention(AdditiveAttention):
    """Additive attention whose scores also depend on the sum of a position's weights so far.

    With ``max_fertility`` N, the sum is divided by the position's fertility N * sigmoid(f . m),
    the number of target tokens that it is expected to have (section 3.1.1 of the paper).

    Args:
        query_dim: Features of a query, and of the hidden layer.
        memory_dim: Features of the memory.
        max_fertility: Bound of the fertility; None: the sum is not divided.
    """

    def __init__(self, query_dim: int, memory_dim: int, max_fertility: float | None = None) -> None:
        super().__init__(query_dim, memory_dim)
        self.max_fertility = max_fertility
        self.coverage_projection = Linear(1, query_dim, bias=False)
        self.fertility = None if max_fertility is None else Linear(memory_dim, 1)

    def project(self, states: Float[Tensor, "B M I"], mask: Bool[Tensor, "B M"]) -> ProjectedMemory:
        """See ``Attention.project``; the last feature of a key is the inverse of its fertility."""
        key = self.key_projection(states)
        if self.fertility is None or self.max_fertility is None:
            inverse = torch.ones_like(key[..., :1])
        else:
            inverse = 1 / (self.max_fertility * self.fertility(states).sigmoid())
        return ProjectedMemory(
            torch.cat((key, inverse), dim=-1), self.output_projection(states), mask
        )

    def begin(self, memory: ProjectedMemory) -> AttentionState:
        """See ``Attention.begin``: the coverage (B, 1, M) of one hypothesis per sentence."""
        return (torch.zeros_like(memory.key[:, None, :, 0]),)

    def weigh(
        self, query: Float[Tensor, "B Q D"], memory: ProjectedMemory, state: AttentionState
    ) -> tuple[Float[Tensor, "B Q M"], AttentionState]:
        """See ``Attention.weigh``."""
        (coverage,) = state  # (B, Q, M)
        key, inverse = memory.key[..., :-1], memory.key[..., -1]
        hidden = self.query_projection(query)[:, :, None] + key[:, None]
        hidden = hidden + self.coverage_projection(coverage[..., None])  # (B, Q, M, D)
        weights = attention_weights(hidden.tanh() @ self.energy.to(hidden.dtype), memory)
        return weights, (coverage + weights * inverse[:, None],)
