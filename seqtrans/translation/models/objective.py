"""The loss of translation models: cross-entropy, and consistency of two passes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, assert_never, runtime_checkable

import torch

from seqtrans.config.types import NonNegativeFloat, PositiveFloat, Probability
from seqtrans.nn.kernels.consistency import ConsistencyTerms
from seqtrans.nn.output_layer import OutputLayer
from seqtrans.tensor_types import Bool, Float, Int, Tensor
from seqtrans.translation.data.batch import TranslationBatch
from seqtrans.translation.models.interfaces import Features
from seqtrans.translation.protocols import SourceBatch


@dataclass(frozen=True, kw_only=True)
class WordDropoutConfig:
    """Proportions of tokens whose embeddings are set to zero in training (arXiv:1512.05287)."""

    source: Probability = 0.0
    target: Probability = 0.0


@dataclass(frozen=True, kw_only=True)
class SimCutConfig:
    """SimCut (arXiv:2206.02368): consistency with a pass in which some embeddings are zero."""

    kind: Literal["simcut"] = "simcut"
    weight: PositiveFloat = 3.0
    """Factor of KL(P || Q) of the first pass P and the second Q; ``alpha`` in the paper."""
    cutoff: Probability = 0.05
    """Proportion of source and target tokens whose embeddings are zero in the second pass."""


@dataclass(frozen=True, kw_only=True)
class RDropConfig:
    """R-Drop (arXiv:2106.14448): consistency of two passes that differ in dropout."""

    kind: Literal["r_drop"] = "r_drop"
    weight: PositiveFloat = 5.0
    """Factor of the mean of KL(P || Q) and KL(Q || P); ``alpha`` in the paper."""


@dataclass(frozen=True, kw_only=True)
class TokenCutoffConfig:
    """Token cutoff (arXiv:2009.13818): two passes; in the second some embeddings are zero."""

    kind: Literal["token_cutoff"] = "token_cutoff"
    weight: PositiveFloat = 5.0
    """Factor of the Jensen-Shannon divergence of both passes; ``beta`` in the paper."""
    loss_weight: NonNegativeFloat = 1.0
    """Factor of the cross-entropy of the second pass; ``alpha`` in the paper."""
    cutoff: Probability = 0.05
    """Proportion of source and target tokens whose embeddings are zero in the second pass."""


ConsistencyConfig = SimCutConfig | RDropConfig | TokenCutoffConfig

Losses = tuple[Float[Tensor, ""], Mapping[str, Float[Tensor, ""]]]
"""The loss, and losses to log, by name and without gradient; sums over target tokens."""


@runtime_checkable
class TeacherForced(Protocol):
    """A model, as an objective sees it."""

    output: OutputLayer

    def features(
        self,
        source: SourceBatch,
        target_input: Int[Tensor, "B T"],
        source_kept: Bool[Tensor, "B S"] | None = None,
        target_kept: Bool[Tensor, "B T"] | None = None,
    ) -> Features:
        """Return the input of the output layer at each target position, under teacher forcing.

        Embeddings are zero where ``source_kept`` or ``target_kept`` is False.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The loss under teacher forcing."""

    label_smoothing: float = 0.0  # probability mass of the target, spread over all tokens
    word_dropout: WordDropoutConfig = WordDropoutConfig()
    consistency: ConsistencyConfig | None = None  # None: one pass

    def __call__(
        self, model: TeacherForced, batch: TranslationBatch, *, is_training: bool
    ) -> Losses:
        """Compute the label-smoothed cross-entropy, as ``F.cross_entropy`` defines it, in nats.

        ``nll`` is the loss without smoothing. Words are dropped only in training. With
        ``consistency``, training computes two passes; ``nll`` is that of the first, and
        ``divergence`` the weighted divergence of both.
        """
        if is_training and self.consistency:
            return self._of_two_passes(model, batch, self.consistency)
        dropped = self.word_dropout if is_training else WordDropoutConfig()
        features = model.features(
            batch.source,
            batch.target_input,
            _draw(batch.source.tokens, dropped.source),
            _draw(batch.target_input, dropped.target),
        )
        loss, nll = model.output.cross_entropy(
            features[batch.target_mask],  # (N, D): padded positions are never projected
            batch.target_output[batch.target_mask],
            self.label_smoothing,
        )
        return loss, {"nll": nll}

    def _of_two_passes(
        self, model: TeacherForced, batch: TranslationBatch, config: ConsistencyConfig
    ) -> Losses:
        """Compute both passes as one batch of twice as many sentences."""
        terms, cutoff = _terms(config)
        dropped = self.word_dropout
        twice = torch.arange(len(batch.source), device=batch.target_input.device).repeat(2)
        features = model.features(
            batch.source.keep(twice),
            batch.target_input[twice],
            _draw(batch.source.tokens, dropped.source, _either(dropped.source, cutoff)),
            _draw(batch.target_input, dropped.target, _either(dropped.target, cutoff)),
        )
        loss, nll, divergence = model.output.consistency(
            features[batch.target_mask[twice]],
            batch.target_output[batch.target_mask],
            self.label_smoothing,
            terms,
        )
        return loss, {"nll": nll, "divergence": divergence}


CROSS_ENTROPY = Objective()


def _terms(config: ConsistencyConfig) -> tuple[ConsistencyTerms, float]:
    """Return the terms of the loss, and the proportion of zero embeddings in the second pass."""
    match config:
        case SimCutConfig():
            return ConsistencyTerms(forward=config.weight), config.cutoff
        case RDropConfig():  # half of the paper's sum: a mean over both passes
            half = config.weight / 4
            return ConsistencyTerms(first=0.5, second=0.5, forward=half, backward=half), 0.0
        case TokenCutoffConfig():
            return ConsistencyTerms(second=config.loss_weight, mixed=config.weight), config.cutoff
        case _:
            assert_never(config)


def _either(a: float, b: float) -> float:
    """Return the probability that at least one of two independent events happens."""
    return 1 - (1 - a) * (1 - b)


def _draw(tokens: Int[Tensor, "B P"], *dropped: float) -> Bool[Tensor, "rows P"] | None:
    """Draw which tokens keep their embeddings, with a dropout probability for each pass.

    Returns:
        False for dropped tokens, with the passes along the batch axis; None if nothing is dropped.
    """
    if not any(dropped):
        return None
    shares = torch.tensor(dropped, device=tokens.device)[:, None, None]
    drawn = torch.rand(len(dropped), *tokens.shape, device=tokens.device)
    return (drawn >= shares).flatten(0, 1)
