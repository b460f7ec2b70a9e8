"""Several models that translate as one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from seqtrans.tensor_types import Float, Int, Tensor
from seqtrans.translation.protocols import DecoderState, SourceBatch

Combination = Literal["probabilities", "log_probabilities"]
"""What is averaged: with ``log_probabilities`` a token that one model finds unlikely is out."""


@dataclass(frozen=True)
class EnsembleState:
    """The state of every model; a ``DecoderState``."""

    states: tuple[DecoderState, ...]

    def reorder(self, parent: Int[Tensor, "B J"]) -> "EnsembleState":
        """See ``DecoderState.reorder``."""
        return EnsembleState(tuple(state.reorder(parent) for state in self.states))

    def keep(self, sentence: Int[Tensor, " R"]) -> "EnsembleState":
        """See ``DecoderState.keep``."""
        return EnsembleState(tuple(state.keep(sentence) for state in self.states))


class Ensemble(nn.Module):
    """Predict the mean of what several models predict; a ``Seq2SeqModel``.

    Args:
        models: Models with the same source and target vocabularies, of any kinds.
        combination: What is averaged.
    """

    def __init__(
        self, models: Sequence[nn.Module], combination: Combination = "probabilities"
    ) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)
        self.combination: Combination = combination

    def begin(self, source: SourceBatch) -> EnsembleState:
        """See ``Seq2SeqModel.begin``."""
        return EnsembleState(tuple(model.begin(source) for model in self.members))

    def decode_step(
        self, token: Int[Tensor, "B K"], state: EnsembleState
    ) -> tuple[Float[Tensor, "B K V"], EnsembleState]:
        """See ``Seq2SeqModel.decode_step``."""
        pairs = zip(self.members, state.states, strict=True)
        log_probs, states = zip(*(m.decode_step(token, one) for m, one in pairs), strict=True)
        return self.mean(log_probs), EnsembleState(states)

    def logits(
        self, source: SourceBatch, target_input: Int[Tensor, "B T"]
    ) -> Float[Tensor, "B T V"]:
        """Return log-probabilities of every next target token under teacher forcing."""
        logits = [model.logits(source, target_input) for model in self.members]
        wide = torch.promote_types(logits[0].dtype, torch.float32)
        return self.mean([x.log_softmax(-1, dtype=wide) for x in logits])

    @property
    def members(self) -> Sequence[Any]:
        """The models."""
        return list(self.models)

    def mean(self, log_probs: Sequence[Float[Tensor, "B P V"]]) -> Float[Tensor, "B P V"]:
        """Return the log-probabilities of the ensemble, from those of every model."""
        stacked = torch.stack(list(log_probs))
        if self.combination == "probabilities":
            return stacked.logsumexp(0) - math.log(len(log_probs))
        return stacked.mean(0).log_softmax(-1)
