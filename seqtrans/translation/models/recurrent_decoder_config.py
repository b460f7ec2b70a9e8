"""Settings of recurrent decoders."""

from dataclasses import dataclass
from typing import Literal

from seqtrans.config.types import Positive, Probability
from seqtrans.translation.models.attention import (
    AttentionConfig,
    AttentionKind,
    attention_config,
    check_memory_dim,
    check_query_dim,
)


@dataclass(frozen=True, kw_only=True)
class RecurrentDecoderConfig:
    """An LSTM or GRU with attention that writes the target.

    Args:
        cell: The recurrent cell.
        hidden_dim: Features of the state, of the attention's query and of the output.
        num_layers: Number of layers; the state of the top one is the attention's query, unless
            ``attention_in_upper_layers``.
        embedding_dim: Features of an embedded target token; None: ``hidden_dim``.
        residual: Add the input of each layer but the first to its output (arXiv:1609.08144).
        attention: How memory is scored, as a kind or a mapping with options: ``dot``, ``general``
            (arXiv:1508.04025), ``additive`` (arXiv:1409.0473), ``multi_head`` (arXiv:1706.03762),
            ``coverage``, ``count_coverage``, ``fertility_coverage`` (arXiv:1601.04811),
            ``location`` (arXiv:1508.04025), ``fixed``: the last state of the encoder. ``dot``
            needs a memory of ``hidden_dim`` features.
        num_heads: Heads of ``attention: multi_head``; in a mapping, ``num_heads`` is an option.
        attention_in_upper_layers: Let the state of the lowest layer be the attention's query, and
            the context another input of all layers above it, as in arXiv:1609.08144.
        context_gate: Weigh the context against the query in each feature of the output, by a
            learned gate (arXiv:1608.06043).
        input_feeding: Add the output of the previous step to the input of each step
            (arXiv:1508.04025, 3.3). Layers then run step by step: training on a CPU takes 1.4
            times as long.
        initial_state: Encoder state from which a learned map and tanh compute the first state: the
            ``last`` one, the ``mean`` of all, or ``zero`` for none.
        dropout: Probability of dropping a feature of the embeddings, of each layer's output and
            of the input of the output layer.
        variational_dropout: Drop the same features at every position of a sentence
            (arXiv:1512.05287).
        recurrent_dropout: Probability of dropping a feature of the previous state, the same
            features at every position; layers then run step by step.
        layer_norm: Normalize inside the cells (arXiv:1607.06450); layers then run step by step.

    Raises:
        ValueError: ``residual`` or ``attention_in_upper_layers`` with one layer; ``num_heads``
            without ``multi_head``, missing with it, given twice, or not a divisor of
            ``hidden_dim``.
    """

    kind: Literal["recurrent"] = "recurrent"
    cell: Literal["lstm", "gru"] = "lstm"
    hidden_dim: Positive = 512
    num_layers: Positive = 1
    embedding_dim: Positive | None = None
    residual: bool = False
    attention: AttentionKind | AttentionConfig = "additive"
    num_heads: Positive | None = None
    attention_in_upper_layers: bool = False
    context_gate: bool = False
    input_feeding: bool = False
    initial_state: Literal["last", "mean", "zero"] = "last"
    dropout: Probability = 0.2
    variational_dropout: bool = False
    recurrent_dropout: Probability = 0.0
    layer_norm: bool = False

    def __post_init__(self) -> None:
        """Check settings that depend on each other."""
        if self.residual and self.num_layers == 1:
            raise ValueError("residual (true) needs num_layers of at least 2, not 1")
        if self.attention_in_upper_layers and self.num_layers == 1:
            raise ValueError(
                "attention_in_upper_layers (true) needs num_layers of at least 2, not 1"
            )
        check_query_dim(self.attention_config, self.hidden_dim)

    @property
    def attention_config(self) -> AttentionConfig:
        """``attention`` with its options."""
        return attention_config(self.attention, self.num_heads)

    def check_memory(self, memory_dim: int) -> None:
        """Check the size of the encoder's memory.

        Raises:
            ValueError: It is not ``hidden_dim``, and the attention is ``dot``.
        """
        check_memory_dim(self.attention_config, self.hidden_dim, memory_dim)
