"""Attention with a coverage vector of each source position (arXiv:1601.04811)."""

import math

import torch
from torch import nn

from seqtrans.nn.attention.recurrent import (
    Attention,
    AttentionState,
    ProjectedMemory,
    attention_weights,
)
from seqtrans.nn.kernels.linear import Linear
from seqtrans.tensor_types import Bool, Float, Tensor


class CoverageAttention(Attention):
    """Additive attention whose scores also depend on a coverage vector of each source position.

    The score of query q and position m is v . tanh(W q + U m + C c) with the coverage c of the
    position, which is zero at first. After a step in which the position had the weight a, it is
    tanh(R c + w a + P m + Q q) (section 3.1.2 of the paper, with tanh for g).

    Args:
        query_dim: Features of a query, and of the hidden layer.
        memory_dim: Features of the memory.
        coverage_dim: Features of a coverage vector.
    """

    def __init__(self, query_dim: int, memory_dim: int, coverage_dim: int) -> None:
        super().__init__()
        self.sizes = (query_dim, coverage_dim)
        self.output_projection = Linear(memory_dim, query_dim, bias=False)
        self.query_projection = Linear(query_dim, query_dim, bias=False)
        self.key_projection = Linear(memory_dim, query_dim)
        self.coverage_projection = Linear(coverage_dim, query_dim, bias=False)
        self.energy = nn.Parameter(torch.empty(query_dim))
        bound = 1 / math.sqrt(query_dim)
        nn.init.uniform_(self.energy, -bound, bound)
        self.update_coverage = Linear(coverage_dim, coverage_dim)
        self.update_weight = Linear(1, coverage_dim, bias=False)
        self.update_memory = Linear(memory_dim, coverage_dim, bias=False)
        self.update_query = Linear(query_dim, coverage_dim, bias=False)

    def project(self, states: Float[Tensor, "B M I"], mask: Bool[Tensor, "B M"]) -> ProjectedMemory:
        """See ``Attention.project``; a key holds memory's part of the scores, then of updates."""
        key = torch.cat((self.key_projection(states), self.update_memory(states)), dim=-1)
        return ProjectedMemory(key, self.output_projection(states), mask)

    def begin(self, memory: ProjectedMemory) -> AttentionState:
        """See ``Attention.begin``: the coverage (B, 1, M, C) of one hypothesis per sentence."""
        _, coverage = memory.key.split(self.sizes, dim=-1)
        return (torch.zeros_like(coverage)[:, None],)

    def attend(
        self, query: Float[Tensor, "B Q D"], memory: ProjectedMemory, state: AttentionState
    ) -> tuple[Float[Tensor, "B Q D"], AttentionState]:
        """See ``Attention.attend``."""
        (coverage,) = state  # (B, Q, M, C)
        key, update = memory.key[:, None].split(self.sizes, dim=-1)  # (B, 1, M, D), (B, 1, M, C)
        hidden = self.query_projection(query)[:, :, None] + key + self.coverage_projection(coverage)
        weights = attention_weights(hidden.tanh() @ self.energy.to(hidden.dtype), memory)
        coverage = (
            self.update_coverage(coverage)
            + self.update_weight(weights[..., None])
            + update
            + self.update_query(query)[:, :, None]
        ).tanh()
        return weights @ memory.value, (coverage,)
