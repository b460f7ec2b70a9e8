"""Recurrent encoders: LSTM or GRU, in one or both directions (arXiv:1409.0473)."""

import math
from dataclasses import dataclass
from typing import Literal

from torch import nn

from seqtrans.config.types import Positive, Probability
from seqtrans.nn.dropout import Dropout
from seqtrans.nn.module_list import Stack
from seqtrans.nn.recurrent.layers import Recurrence, SentenceLayer
from seqtrans.tensor_types import Bool, Float, Tensor
from seqtrans.translation.models.interfaces import Memory


@dataclass(frozen=True, kw_only=True)
class RecurrentEncoderConfig:
    """An LSTM or GRU that reads the source.

    Args:
        cell: The recurrent cell.
        hidden_dim: Features of the state of **one direction**: the memory of a bidirectional
            encoder has twice as many.
        num_layers: Number of layers; each reads both directions of the one below.
        embedding_dim: Features of an embedded source token; None: ``hidden_dim``.
        bidirectional: Read sentences in both directions.
        residual: Add the input of each layer but the first to its output (arXiv:1609.08144).
        dropout: Probability of dropping a feature of the embeddings and of each layer's output.
        variational_dropout: Drop the same features at every position of a sentence
            (arXiv:1512.05287).
        recurrent_dropout: Probability of dropping a feature of the previous state, the same
            features at every position. Above 0, or with ``layer_norm``, layers run step by step:
            much slower on a GPU, hardly on a CPU.
        layer_norm: Normalize inside the cells (arXiv:1607.06450).

    Raises:
        ValueError: ``residual`` with one layer.
    """

    kind: Literal["recurrent"] = "recurrent"
    cell: Literal["lstm", "gru"] = "lstm"
    hidden_dim: Positive = 512
    num_layers: Positive = 1
    embedding_dim: Positive | None = None
    bidirectional: bool = True
    residual: bool = False
    dropout: Probability = 0.2
    variational_dropout: bool = False
    recurrent_dropout: Probability = 0.0
    layer_norm: bool = False

    def __post_init__(self) -> None:
        """Check settings that depend on each other."""
        if self.residual and self.num_layers == 1:
            raise ValueError("residual (true) needs num_layers of at least 2, not 1")

    @property
    def memory_dim(self) -> int:
        """Features of the memory."""
        return 2 * self.hidden_dim if self.bidirectional else self.hidden_dim

    @property
    def recurrence(self) -> Recurrence:
        """Kind of the layers."""
        return Recurrence(
            cell=self.cell, layer_norm=self.layer_norm, recurrent_dropout=self.recurrent_dropout
        )


class RecurrentEncoder(nn.Module):
    """Stacked recurrent layers over the source.

    Embeddings have length 1 at first and are scaled by the root of their size, so that gates with
    Xavier's weights start neither closed nor saturated.
    """

    def __init__(self, config: RecurrentEncoderConfig) -> None:
        super().__init__()
        self.embedding_dim = config.embedding_dim or config.hidden_dim
        self.memory_dim = config.memory_dim
        self.scale = math.sqrt(self.embedding_dim)
        self.residual = config.residual
        self.dropout = Dropout(config.dropout, locked=config.variational_dropout)
        self.layers = Stack(
            SentenceLayer(
                config.recurrence,
                self.memory_dim if number else self.embedding_dim,
                config.hidden_dim,
                bidirectional=config.bidirectional,
            )
            for number in range(config.num_layers)
        )

    def forward(self, embedded: Float[Tensor, "B S E"], mask: Bool[Tensor, "B S"]) -> Memory:
        """See ``Encoder``."""
        states = self.dropout(embedded * self.scale)
        for number, layer in enumerate(self.layers):
            above = self.dropout(layer(states, mask))
            states = states + above if self.residual and number else above
        (*_, top) = self.layers
        return Memory(states, mask, top.summary(states, mask))
