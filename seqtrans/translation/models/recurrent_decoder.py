"""Recurrent decoders with attention (arXiv:1409.0473, arXiv:1508.04025)."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn

from seqtrans.nn.attention.recurrent import AttentionState, ProjectedMemory
from seqtrans.nn.dropout import Dropout
from seqtrans.nn.gather import gather_hypotheses
from seqtrans.nn.initialize import xavier_joint, xavier_linear
from seqtrans.nn.kernels.linear import Linear
from seqtrans.nn.kernels.token_cache import TokenRows
from seqtrans.nn.recurrent.layers import Recurrence, mean_states
from seqtrans.nn.recurrent.stack import RecurrentStack, StackCarry, StepDropout
from seqtrans.tensor_types import Float, Int, Tensor
from seqtrans.translation.models.attention import build_attention
from seqtrans.translation.models.interfaces import Memory
from seqtrans.translation.models.recurrent_decoder_config import RecurrentDecoderConfig

Attend = Callable[[Tensor, ProjectedMemory, AttentionState], tuple[Tensor, AttentionState]]
"""Computes contexts, or outputs, of queries, and the new state of an attention."""


@dataclass(frozen=True)
class RecurrentState:
    """States of cells and attention per hypothesis, memory per sentence, gates per token."""

    gates: TokenRows  # contribution of a token to the gates of the lowest layer
    memory: ProjectedMemory
    carry: tuple[tuple[Float[Tensor, "B K D"], ...], ...]  # of each layer
    attention: AttentionState
    feed: Float[Tensor, "B K D"] | None  # output of the previous step; None without input feeding

    def reorder(self, parent: Int[Tensor, "B J"]) -> "RecurrentState":
        """See ``DecoderState.reorder``; memory belongs to sentences and does not change."""
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
    """Stacked recurrent layers over the target, with attention to the memory.

    The state h of the top layer is the query. With its context c, the output is tanh(W [c; h])
    (arXiv:1508.04025, equation 5); the attention applies the half of W that belongs to c. A
    context gate z = sigmoid(Z [W c; h]) multiplies that half, 1 - z the other (arXiv:1608.06043).
    With attention in upper layers, the state of the lowest layer is the query.
    Embeddings are scaled as in ``RecurrentEncoder``.
    """

    def __init__(self, config: RecurrentDecoderConfig, memory_dim: int) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.embedding_dim = config.embedding_dim or dim
        self.output_dim = dim
        self.scale = math.sqrt(self.embedding_dim)
        self.initial_state = config.initial_state
        self.attends_below = config.attention_in_upper_layers
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
            context_dim=dim if config.attention_in_upper_layers else 0,
        )
        self.start = (
            None
            if config.initial_state == "zero"
            else Linear(memory_dim, self.stack.num_parts * dim)
        )
        self.feed = Linear(dim, self.stack.gates_dim, bias=False) if config.input_feeding else None
        self.attention = build_attention(config.attention_config, dim, memory_dim)
        self.combination = Linear(dim, dim)
        self.context_gate = Linear(2 * dim, dim) if config.context_gate else None
        for part in (self.start, self.feed, self.attention, self.combination, self.context_gate):
            if part is not None:
                xavier_linear(part)
        xavier_joint(self.attention.output_projection, self.combination)

    def forward(self, embedded: Float[Tensor, "B T E"], memory: Memory) -> Float[Tensor, "B T D"]:
        """See ``Decoder``; computes all positions at once unless inputs are fed."""
        inputs = self.dropout(embedded * self.scale)
        projected = self.attention.project(memory.states, memory.mask)
        start = self._first_carry(memory)
        if self.feed is None:
            return self.dropout(self._run(inputs, start, projected))
        return self.dropout(self._run_fed(inputs, start, projected, self.feed))

    def begin(self, memory: Memory, embedding: nn.Embedding) -> RecurrentState:
        """See ``Decoder.begin``."""
        carry = tuple(
            # For a state with gaps, torch would copy the weights once per sentence.
            tuple(part[:, None].contiguous() for part in layer)
            for layer in self._first_carry(memory)
        )
        feed = None if self.feed is None else torch.zeros_like(carry[0][0])

        def gates_of(token: Int[Tensor, "*P"]) -> Float[Tensor, "*P G"]:
            return self.stack.project(embedding(token) * self.scale)

        projected = self.attention.project(memory.states, memory.mask)
        return RecurrentState(
            TokenRows(gates_of, embedding.num_embeddings),
            projected,
            carry,
            self.attention.begin(projected),
            feed,
        )

    def step(
        self, token: Int[Tensor, "B K"], state: RecurrentState
    ) -> tuple[Float[Tensor, "B K D"], RecurrentState]:
        """See ``Decoder.step``; without dropout."""
        gates = state.gates(token)
        if self.feed is not None:
            gates = gates + self.feed(state.feed)
        features, carry, attention = self._step(gates, state.carry, state.memory, state.attention)
        feed = None if self.feed is None else features
        return features, replace(state, carry=carry, attention=attention, feed=feed)

    def _first_carry(self, memory: Memory) -> StackCarry:
        """Return the state of each layer before the first position."""
        if self.start is None:
            zeros = memory.states.new_zeros(memory.states.size(0), self.output_dim)
            return self.stack.carry((zeros,) * self.stack.num_parts)
        use_last = self.initial_state == "last"
        summary = memory.last if use_last else mean_states(memory.states, memory.mask)
        return self.stack.carry(self.start(summary).tanh().chunk(self.stack.num_parts, dim=-1))

    def _step(
        self,
        gates: Float[Tensor, "B K G"],
        carry: StackCarry,
        memory: ProjectedMemory,
        state: AttentionState,
        dropout: StepDropout | None = None,
    ) -> tuple[Float[Tensor, "B K D"], StackCarry, AttentionState]:
        """Return the output after one more position, and the new states."""
        if not self.attends_below:
            query, carry = self.stack.step(gates, carry, dropout)
            features, state = self._attend(query, memory, state)
            return features, carry, state
        query, lowest = self.stack.step_lowest(gates, carry, dropout)
        context, state = self.attention.attend(query, memory, state)
        query, upper = self.stack.step_upper(query, carry, dropout, context)
        return self._combine(context, query), lowest + upper, state

    def _attend(
        self, query: Float[Tensor, "B Q D"], memory: ProjectedMemory, state: AttentionState
    ) -> tuple[Float[Tensor, "B Q D"], AttentionState]:
        """Return the output for each query, and the new state of the attention."""
        context, state = self.attention.attend(query, memory, state)
        return self._combine(context, query), state

    def _combine(
        self, context: Float[Tensor, "B Q D"], query: Float[Tensor, "B Q D"]
    ) -> Float[Tensor, "B Q D"]:
        """Return the output for each context and the state of the top layer."""
        target = self.combination(query)
        if self.context_gate is not None:
            gate = self.context_gate(torch.cat((context, query), dim=-1)).sigmoid()
            context, target = gate * context, (1 - gate) * target
        return (context + target).tanh()

    def _run(
        self, inputs: Float[Tensor, "B T E"], carry: StackCarry, memory: ProjectedMemory
    ) -> Float[Tensor, "B T D"]:
        """Run layer by layer, each over all positions."""
        if not self.attends_below:
            return self._for_all(self._attend, self.stack(inputs, carry), memory)
        query = self.stack.run_lowest(inputs, carry)
        context = self._for_all(self.attention.attend, query, memory)
        return self._combine(context, self.stack.run_upper(query, carry, context))

    def _for_all(
        self, attend: Attend, query: Float[Tensor, "B T D"], memory: ProjectedMemory
    ) -> Float[Tensor, "B T D"]:
        """Call ``attend`` for all positions, at once unless the attention has a state."""
        state = self.attention.begin(memory)
        if not state:
            return attend(query, memory, state)[0]
        outputs: list[Tensor] = []
        for one in query.split(1, dim=1):
            output, state = attend(one, memory, state)
            outputs.append(output)
        return torch.cat(outputs, dim=1)

    def _run_fed(
        self,
        inputs: Float[Tensor, "B T E"],
        carry: StackCarry,
        memory: ProjectedMemory,
        feed: Linear,
    ) -> Float[Tensor, "B T D"]:
        """Run step by step; each input includes the previous output, without dropout."""
        features = inputs.new_zeros(inputs.size(0), 1, self.output_dim)
        carry = tuple(tuple(part[:, None] for part in layer) for layer in carry)
        state = self.attention.begin(memory)
        outputs: list[Tensor] = []
        steps = zip(
            self.stack.project(inputs).split(1, dim=1), self.stack.draw_dropout(inputs), strict=True
        )
        for gates, dropout in steps:
            features, carry, state = self._step(
                gates + feed(features), carry, memory, state, dropout
            )
            outputs.append(features)
        return torch.cat(outputs, dim=1)
