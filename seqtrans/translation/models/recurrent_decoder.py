"""Recurrent decoders with attention (arXiv:1409.0473, arXiv:1508.04025)."""

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import nn

from seqtrans.config.types import Positive, Probability
from seqtrans.nn.attention.recurrent import AttentionState, ProjectedMemory
from seqtrans.nn.dropout import Dropout
from seqtrans.nn.gather import gather_hypotheses
from seqtrans.nn.initialize import xavier_joint, xavier_linear
from seqtrans.nn.kernels.linear import Linear
from seqtrans.nn.kernels.token_cache import TokenRows
from seqtrans.nn.recurrent.layers import Recurrence, mean_states
from seqtrans.nn.recurrent.stack import RecurrentStack, StackCarry
from seqtrans.tensor_types import Float, Int, Tensor
from seqtrans.translation.models.attention import (
    AttentionConfig,
    AttentionKind,
    build_attention,
    check_memory_dim,
    check_query_dim,
    in_full,
)
from seqtrans.translation.models.interfaces import Memory


@dataclass(frozen=True, kw_only=True)
class RecurrentDecoderConfig:
    """An LSTM or GRU with attention that writes the target.

    Args:
        cell: Which recurrence.
        hidden_dim: Features of the state, of the attention's query and of the output.
        num_layers: Layers on top of each other; the top one asks the attention.
        embedding_dim: Features of an embedded target token; None: ``hidden_dim``.
        residual: Add the input of each layer but the first to its output (arXiv:1609.08144).
        attention: How memory is scored: ``dot`` and ``general`` (arXiv:1508.04025),
            ``additive`` (arXiv:1409.0473), ``multi_head`` dot products (arXiv:1706.03762). ``dot``
            has no weights and needs an encoder with a ``memory_dim`` of ``hidden_dim``. The name
            of a kind, or a mapping with its options.
        num_heads: Heads of ``attention: multi_head``, where it is said by its name alone.
        input_feeding: Give each step also the attentional output of the step before
            (arXiv:1508.04025, 3.3). Training then goes step by step: on CPU 1.4 times as long.
        initial_state: What the first state is made of, by a learned map and tanh: the encoder's
            ``last`` state or the ``mean`` of its states; ``zero`` is neither.
        dropout: Probability of dropping a feature of the embeddings, of each layer's output and
            of what the output layer reads.
        variational_dropout: Drop the same features at every position of a sentence
            (arXiv:1512.05287).
        recurrent_dropout: Probability of dropping a feature of the state on its way to the next
            position, the same at every position; layers then run step by step.
        layer_norm: Normalize inside the cells (arXiv:1607.06450); they then run step by step.

    Raises:
        ValueError: ``residual`` with one layer; ``num_heads`` without ``multi_head``, missing
            there, given twice, or not dividing ``hidden_dim``.
    """

    kind: Literal["recurrent"] = "recurrent"
    cell: Literal["lstm", "gru"] = "lstm"
    hidden_dim: Positive = 512
    num_layers: Positive = 1
    embedding_dim: Positive | None = None
    residual: bool = False
    attention: AttentionKind | AttentionConfig = "additive"
    num_heads: Positive | None = None
    input_feeding: bool = False
    initial_state: Literal["last", "mean", "zero"] = "last"
    dropout: Probability = 0.2
    variational_dropout: bool = False
    recurrent_dropout: Probability = 0.0
    layer_norm: bool = False

    def __post_init__(self) -> None:
        """Refuse choices that contradict each other."""
        if self.residual and self.num_layers == 1:
            raise ValueError("residual (true) needs num_layers of at least 2, not 1")
        check_query_dim(self.attention_in_full, self.hidden_dim)

    @property
    def attention_in_full(self) -> AttentionConfig:
        """``attention`` and its options."""
        return in_full(self.attention, self.num_heads)

    def check_memory(self, memory_dim: int) -> None:
        """Refuse an encoder that the attention can't look at.

        Raises:
            ValueError: ``dot`` attention, and ``memory_dim`` is not ``hidden_dim``.
        """
        check_memory_dim(self.attention_in_full, self.hidden_dim, memory_dim)


@dataclass(frozen=True)
class RecurrentState:
    """States of cells and attention per hypothesis, memory per sentence, gates per token."""

    gates: TokenRows  # what a token contributes to the lowest layer's
    memory: ProjectedMemory
    carry: tuple[tuple[Float[Tensor, "B K D"], ...], ...]  # of each layer
    attention: AttentionState
    feed: Float[Tensor, "B K D"] | None  # attentional output of the step before, if it is fed

    def reorder(self, parent: Int[Tensor, "B J"]) -> "RecurrentState":
        """See ``DecoderState.reorder``; memory belongs to sentences and stays as it is."""
        return replace(
            self,
            carry=tuple(
                tuple(gather_hypotheses(part, parent) for part in layer) for layer in self.carry
            ),
            attention=tuple(gather_hypotheses(part, parent) for part in self.attention),
            feed=None if self.feed is None else gather_hypotheses(self.feed, parent),
        )

    def keep(self, sentence: Int[Tensor, " R"]) -> "RecurrentState":
        """See ``DecoderState.keep``."""
        return RecurrentState(
            self.gates,
            self.memory.keep(sentence),
            tuple(tuple(part[sentence] for part in layer) for layer in self.carry),
            tuple(part[sentence] for part in self.attention),
            None if self.feed is None else self.feed[sentence],
        )


class RecurrentDecoder(nn.Module):
    """Stacked recurrent layers over the target, which look at memory through one attention.

    The top layer's state h asks; what the output layer reads is tanh(W [c; h]) with the context
    c (arXiv:1508.04025, equation 5); the attention applies the half of W that belongs to c.
    Embeddings are scaled as in ``RecurrentEncoder``.

    Args:
        config: Sizes and choices.
        memory_dim: Features of the encoder's memory.

    Raises:
        ValueError: ``dot`` attention and ``memory_dim`` is not ``hidden_dim``.
    """

    def __init__(self, config: RecurrentDecoderConfig, memory_dim: int) -> None:
        super().__init__()
        config.check_memory(memory_dim)
        dim = config.hidden_dim
        self.embedding_dim = config.embedding_dim or dim
        self.output_dim = dim
        self.scale = math.sqrt(self.embedding_dim)
        self.initial_state = config.initial_state
        self.dropout = Dropout(config.dropout, locked=config.variational_dropout)
        self.stack = RecurrentStack(
            Recurrence(
                cell=config.cell,
                layer_norm=config.layer_norm,
                recurrent_dropout=config.recurrent_dropout,
            ),
            self.embedding_dim,
            dim,
            config.num_layers,
            residual=config.residual,
            dropout=config.dropout,
            locked_dropout=config.variational_dropout,
        )
        self.start = (
            None
            if config.initial_state == "zero"
            else Linear(memory_dim, self.stack.num_parts * dim)
        )
        self.feed = Linear(dim, self.stack.gates_dim, bias=False) if config.input_feeding else None
        self.attention = build_attention(config.attention_in_full, dim, memory_dim)
        self.combination = Linear(dim, dim)
        for part in (self.start, self.feed, self.attention, self.combination):
            if part is not None:
                xavier_linear(part)
        xavier_joint(self.attention.output_projection, self.combination)

    def forward(self, embedded: Float[Tensor, "B T E"], memory: Memory) -> Float[Tensor, "B T D"]:
        """See ``Decoder``; all positions at once unless outputs are fed back.

        An attention with a state looks at one position after the other.
        """
        inputs = self.dropout(embedded * self.scale)
        attended = self.attention.project(memory.states, memory.mask)
        start = self._first_carry(memory)
        if self.feed is None:
            return self.dropout(self._look_from_all(self.stack(inputs, start), attended))
        return self.dropout(self._run_fed(inputs, start, attended, self.feed))

    def begin(self, memory: Memory, embedding: nn.Embedding) -> RecurrentState:
        """See ``Decoder.begin``."""
        carry = tuple(
            # Of a state with gaps torch would multiply each sentence by its own copy of weights.
            tuple(part[:, None].contiguous() for part in layer)
            for layer in self._first_carry(memory)
        )
        feed = None if self.feed is None else torch.zeros_like(carry[0][0])

        def gates_of(token: Int[Tensor, "*P"]) -> Float[Tensor, "*P G"]:
            return self.stack.project(embedding(token) * self.scale)

        attended = self.attention.project(memory.states, memory.mask)
        return RecurrentState(
            TokenRows(gates_of, embedding.num_embeddings),
            attended,
            carry,
            self.attention.begin(attended),
            feed,
        )

    def step(
        self, token: Int[Tensor, "B K"], state: RecurrentState
    ) -> tuple[Float[Tensor, "B K D"], RecurrentState]:
        """See ``Decoder.step``; never drops anything."""
        gates = state.gates(token)
        if self.feed is not None:
            gates = gates + self.feed(state.feed)
        query, carry = self.stack.step(gates, state.carry)
        features, attention = self._look(query, state.memory, state.attention)
        feed = None if self.feed is None else features
        return features, replace(state, carry=carry, attention=attention, feed=feed)

    def _first_carry(self, memory: Memory) -> StackCarry:
        """Every layer's state before the first position."""
        if self.start is None:
            zeros = memory.states.new_zeros(memory.states.size(0), self.output_dim)
            return self.stack.carry((zeros,) * self.stack.num_parts)
        use_last = self.initial_state == "last"
        summary = memory.last if use_last else mean_states(memory.states, memory.mask)
        return self.stack.carry(self.start(summary).tanh().chunk(self.stack.num_parts, dim=-1))

    def _look(
        self, query: Float[Tensor, "B Q D"], memory: ProjectedMemory, state: AttentionState
    ) -> tuple[Float[Tensor, "B Q D"], AttentionState]:
        """Attend from each query; join query and context."""
        context, state = self.attention.attend(query, memory, state)
        return (context + self.combination(query)).tanh(), state

    def _look_from_all(
        self, query: Float[Tensor, "B T D"], memory: ProjectedMemory
    ) -> Float[Tensor, "B T D"]:
        """Attend from each position: at once, unless what is seen depends on those before."""
        state = self.attention.begin(memory)
        if not state:
            return self._look(query, memory, state)[0]
        outputs: list[Tensor] = []
        for one in query.split(1, dim=1):
            features, state = self._look(one, memory, state)
            outputs.append(features)
        return torch.cat(outputs, dim=1)

    def _run_fed(
        self,
        inputs: Float[Tensor, "B T E"],
        carry: StackCarry,
        memory: ProjectedMemory,
        feed: Linear,
    ) -> Float[Tensor, "B T D"]:
        """Step by step, each reading also what the step before put out (without dropout)."""
        features = inputs.new_zeros(inputs.size(0), 1, self.output_dim)
        state = self.attention.begin(memory)
        outputs: list[Tensor] = []
        steps = zip(
            self.stack.project(inputs).unbind(1), self.stack.draw_dropout(inputs), strict=True
        )
        for gates, dropout in steps:
            query, carry = self.stack.step(gates + feed(features[:, 0]), carry, dropout)
            features, state = self._look(query[:, None], memory, state)
            outputs.append(features)
        return torch.cat(outputs, dim=1)
