"""Copying tokens of the source: a mixture of generating and pointing (arXiv:1704.04368)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from seqtrans.nn.kernels.consistency import ConsistencyTerms, divergences
from seqtrans.nn.kernels.linear import Linear
from seqtrans.nn.output_layer import OutputLayer
from seqtrans.tensor_types import Bool, Float, Int, Tensor
from seqtrans.translation.models.interfaces import Memory
from seqtrans.translation.protocols import DecoderState

_ROWS = 1024
"""Positions whose probabilities of all tokens exist at one time in training."""

_GENERATED_FIRST = 2.0
"""Initial bias of the gate: at first nearly 0.9 of a distribution is generated."""


@dataclass(frozen=True)
class CopySource:
    """Source sentences as what to copy from: keys of attention, and tokens."""

    key: Float[Tensor, "B S D"]
    mask: Bool[Tensor, "B S"]
    tokens: Int[Tensor, "B S"]

    def keep(self, sentence: Int[Tensor, " R"]) -> "CopySource":
        """Keep only these sentences."""
        return CopySource(self.key[sentence], self.mask[sentence], self.tokens[sentence])


@dataclass(frozen=True)
class CopyFeatures:
    """What the distribution of the next token is computed from, at target positions *P.

    Attributes:
        features: Those of the decoder.
        pointed: The share of each source position in what is copied.
        tokens: The tokens at the source positions.
    """

    features: Float[Tensor, "*P D"]
    pointed: Float[Tensor, "*P S"]
    tokens: Int[Tensor, "*P S"]

    def __getitem__(self, index: Bool[Tensor, "B T"] | slice) -> "CopyFeatures":
        """Select positions."""
        return CopyFeatures(self.features[index], self.pointed[index], self.tokens[index])


@dataclass(frozen=True)
class CopyState:
    """A decoder's state and what to copy from; a ``DecoderState``."""

    decoder: DecoderState
    source: CopySource

    def reorder(self, parent: Int[Tensor, "B J"]) -> "CopyState":
        """See ``DecoderState.reorder``."""
        return replace(self, decoder=self.decoder.reorder(parent))

    def keep(self, sentence: Int[Tensor, " R"]) -> "CopyState":
        """See ``DecoderState.keep``."""
        return CopyState(self.decoder.keep(sentence), self.source.keep(sentence))


class CopyingOutput(OutputLayer):
    """An output layer that can also copy tokens of the source.

    The probability of a token is g p + (1 - g) a: p by the output layer, a the sum of attention
    weights of the source positions that have this token, and g = sigmoid(w . h + b) by the features
    h of the decoder. The attention is one of its own, with one head, so that any decoder can copy;
    the paper takes the one of its LSTM.

    Args:
        features: Features at a position.
        memory_dim: Features of the encoder's memory.
        vocab: Number of tokens, of source and target alike.
        soft_cap: See ``OutputLayer``.
    """

    def __init__(
        self, features: int, memory_dim: int, vocab: int, soft_cap: float | None = None
    ) -> None:
        super().__init__(features, vocab, soft_cap)
        self.query_projection = Linear(features, features)
        self.key_projection = Linear(memory_dim, features, bias=False)
        self.gate = Linear(features, 1)

    def open_gate(self) -> None:
        """Let the model generate rather than copy at first; after other weights are set."""
        nn.init.constant_(self.gate.bias, _GENERATED_FIRST)

    def project(self, memory: Memory, tokens: Int[Tensor, "B S"]) -> CopySource:
        """Prepare source sentences, once for all decoding steps."""
        return CopySource(self.key_projection(memory.states), memory.mask, tokens)

    def point(self, features: Float[Tensor, "B Q D"], source: CopySource) -> CopyFeatures:
        """Compute what to copy at each target position or for each hypothesis."""
        query = self.query_projection(features) / math.sqrt(features.size(-1))
        scores = query @ source.key.mT  # (B, Q, S)
        wide = torch.promote_types(scores.dtype, torch.float32)
        masked = scores.masked_fill(~source.mask[:, None], float("-inf"))
        tokens = source.tokens[:, None].expand(-1, features.size(1), -1)
        return CopyFeatures(features, masked.softmax(dim=-1, dtype=wide), tokens)

    def forward(self, input: CopyFeatures) -> Float[Tensor, "*P V"]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return log-probabilities, which are logits too."""
        return self.log_probabilities(input)

    def log_probabilities(self, features: CopyFeatures) -> Float[Tensor, "*P V"]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the log-probabilities of all tokens, in at least fp32."""
        pointed = features.pointed
        gate = self.gate(features.features).to(pointed.dtype)
        generated = super().log_probabilities(features.features) + nn.functional.logsigmoid(gate)
        copied = torch.zeros_like(generated).scatter_add(
            -1, features.tokens, pointed * (-gate).sigmoid()
        )
        # The logarithm of 0 would have an infinite gradient.
        is_copied = copied > 0
        log_copied = copied.where(is_copied, 1.0).log().where(is_copied, float("-inf"))
        return torch.logaddexp(generated, log_copied)

    def cross_entropy(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, features: CopyFeatures, target: Int[Tensor, " N"], label_smoothing: float
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """See ``OutputLayer.cross_entropy``."""
        sums = [
            checkpoint(self._losses, features[rows], target[rows], use_reentrant=False)
            for rows in _chunks(target)
        ]
        nll, uniform = torch.stack(sums).sum(0)
        return (1 - label_smoothing) * nll + label_smoothing * uniform, nll.detach()

    def consistency(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        features: CopyFeatures,
        target: Int[Tensor, " N"],
        label_smoothing: float,
        terms: ConsistencyTerms,
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, ""]]:
        """See ``OutputLayer.consistency``."""
        first, second = features[: len(target)], features[len(target) :]
        sums = [
            checkpoint(
                self._both, first[rows], second[rows], target[rows], terms, use_reentrant=False
            )
            for rows in _chunks(target)
        ]
        nll, uniform, nll_second, uniform_second, divergence = torch.stack(sums).sum(0)
        loss = divergence
        for factor, exact, spread in (
            (terms.first, nll, uniform),
            (terms.second, nll_second, uniform_second),
        ):
            loss = loss + factor * ((1 - label_smoothing) * exact + label_smoothing * spread)
        return loss, nll.detach(), divergence.detach()

    def _losses(self, features: CopyFeatures, target: Int[Tensor, " n"]) -> Float[Tensor, " 2"]:
        """Return the sums of the negative log-likelihoods of targets, and of the mean token."""
        return _sums(self.log_probabilities(features), target)

    def _both(
        self,
        first: CopyFeatures,
        second: CopyFeatures,
        target: Int[Tensor, " n"],
        terms: ConsistencyTerms,
    ) -> Float[Tensor, " 5"]:
        """Return the sums of ``_losses`` of both passes, and the weighted divergence."""
        log_p, log_q = self.log_probabilities(first), self.log_probabilities(second)
        divergence, _, _ = divergences(log_p, log_q, terms)
        return torch.cat((_sums(log_p, target), _sums(log_q, target), divergence[None]))


def _sums(log_probs: Float[Tensor, "n V"], target: Int[Tensor, " n"]) -> Float[Tensor, " 2"]:
    likelihood = log_probs.gather(1, target[:, None]).sum()
    return -torch.stack((likelihood, log_probs.mean(dim=1).sum()))


def _chunks(target: Int[Tensor, " N"]) -> Iterator[slice]:
    for start in range(0, max(len(target), 1), _ROWS):
        yield slice(start, start + _ROWS)
