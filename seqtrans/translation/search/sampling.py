"""Sampling from any ``Seq2SeqModel``, token by token.

The random numbers of a sentence are drawn before its first token, from the sentence's seed, so that
no sample depends on the batch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

import numpy as np
import torch

from seqtrans.tensor_types import Bool, Float, Int, Tensor
from seqtrans.translation.protocols import (
    Hypothesis,
    SearchInput,
    Seq2SeqModel,
    SourceBatch,
    StateT,
)
from seqtrans.translation.search.beam import DROP_DONE_AT
from seqtrans.translation.search.rules import OutputRules
from seqtrans.translation.search.top_k import NEVER

_MIN_TEMPERATURE = 1e-30  # lower ones have the same effect, or are 0 in fp32


@dataclass(frozen=True)
class Samples:
    """Samples of the sentences that are not done, after T steps."""

    sentence: Int[Tensor, " B"]  # row of the batch
    limit: Int[Tensor, " B"]  # maximum output length with EOS
    uniform: Float[Tensor, "B L K"]  # a random number of [0, 1) for each token
    tokens: Int[Tensor, "B K T"]  # without BOS; padded by EOS
    log_prob: Float[Tensor, "B K"]
    has_ended: Bool[Tensor, "B K"]

    def keep(self, rows: Int[Tensor, " R"]) -> "Samples":
        """Keep only these sentences."""
        return Samples(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Ancestral sampling; a ``Searcher``.

    The samples of a sentence are independent, so two may be equal. A sample of maximum length must
    end with EOS. The score is that of the model's distribution, before temperature, ``top_k`` and
    ``top_p`` change it.

    Args:
        rules: Rules for the output.
        temperature: Log-probabilities are divided by it before drawing; above 0.
        top_k: Number of the most likely tokens to draw from; 0: all.
        top_p: Draw from the fewest tokens that together have this probability; above 0.
        length_penalty: Exponent of the length in the score; 0 favors short output.
        n_best: Samples per sentence.
        seed: With the seed of a sentence, the seed of its random numbers.
    """

    rules: OutputRules
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    length_penalty: float = 1.0
    n_best: int = 1
    seed: int = 1

    @torch.inference_mode()
    def __call__(
        self, model: Seq2SeqModel[StateT], source: SourceBatch, inputs: Sequence[SearchInput]
    ) -> list[list[Hypothesis]]:
        """Draw ``n_best`` translations of each sentence, best first.

        Raises:
            FloatingPointError: Log-probabilities are NaN, or no output has a probability above 0.
            ValueError: A sentence has a prefix or phrases.
        """
        if any(one.prefix or one.constraints or one.avoid for one in inputs):
            raise ValueError("sampling takes no prefix and no phrases: use beam search")
        results: list[list[Hypothesis]] = [[] for _ in inputs]
        samples = self._start(source, inputs)
        token = samples.tokens.new_full(samples.log_prob.shape, self.rules.bos)
        state = model.begin(source).reorder(torch.zeros_like(token))
        while True:
            log_probs, state = model.decode_step(token, state)
            samples = self.advance(samples, log_probs)
            done = samples.has_ended.all(1)
            count = int(done.sum())
            if count == len(done):
                self._collect(samples, results)
                return results
            if count >= DROP_DONE_AT * len(done):
                self._collect(samples.keep(done.nonzero()[:, 0]), results)
                growing = (~done).nonzero()[:, 0]
                samples, state = samples.keep(growing), state.keep(growing)
            token = samples.tokens[:, :, -1]

    def _start(self, source: SourceBatch, inputs: Sequence[SearchInput]) -> Samples:
        limit = self.rules.limit(source.mask.sum(1))
        device, shape = limit.device, (len(inputs), self.n_best)
        longest = int(limit.max())
        numbers = np.stack([self._uniform(one.seed, longest) for one in inputs])
        return Samples(
            sentence=torch.arange(len(inputs), device=device),
            limit=limit,
            uniform=torch.from_numpy(numbers).to(device),
            tokens=torch.empty((*shape, 0), dtype=torch.long, device=device),
            log_prob=torch.zeros(shape, device=device),
            has_ended=torch.zeros(shape, dtype=torch.bool, device=device),
        )

    def _uniform(self, seed: int, length: int) -> np.ndarray:
        """Return random numbers for ``length`` steps; those of a longer sample begin with them."""
        key = np.array([self.seed % 2**64, seed % 2**64], np.uint64)
        return np.random.Generator(np.random.Philox(key=key)).random((length, self.n_best))

    def advance(self, samples: Samples, log_probs: Float[Tensor, "B K V"]) -> Samples:
        """Draw one more token of each sample that has not ended; a pure function."""
        step, eos = samples.tokens.size(2), self.rules.eos
        banned = torch.tensor(self.rules.banned, dtype=torch.long, device=log_probs.device)
        allowed = log_probs.index_fill(2, banned, NEVER)
        allowed = self.rules.without_forbidden(allowed, samples.tokens)
        # Differences to the maximum: 0 stays 0 at any temperature.
        below = allowed - allowed.amax(2, keepdim=True)
        weights = truncate(below / max(self.temperature, _MIN_TEMPERATURE), self.top_k, self.top_p)
        token = draw(weights, samples.uniform[:, step])
        token = token.masked_fill((samples.limit == step + 1)[:, None] | samples.has_ended, eos)
        gain = allowed.gather(2, token[:, :, None])[:, :, 0]
        # Of tokens that are forbidden, only EOS at maximum length can be drawn.
        gain = gain.maximum(log_probs[:, :, eos].masked_fill(token != eos, NEVER))
        gain = gain.masked_fill(samples.has_ended, 0.0)
        return replace(
            samples,
            tokens=torch.cat((samples.tokens, token[:, :, None]), dim=2),
            log_prob=samples.log_prob + gain,
            has_ended=samples.has_ended | (token == eos),
        )

    def _collect(self, samples: Samples, results: list[list[Hypothesis]]) -> None:
        rows = (samples.sentence, samples.tokens, samples.log_prob)
        for sentence, tokens, log_probs in zip(*(x.tolist() for x in rows), strict=True):
            for ids, log_prob in zip(tokens, log_probs, strict=True):
                if math.isnan(log_prob):
                    raise FloatingPointError("the model's log-probabilities are not numbers (NaN)")
                if log_prob == NEVER:
                    raise FloatingPointError("the model gives no output any probability")
                length = ids.index(self.rules.eos) + 1
                score = log_prob / length**self.length_penalty
                results[sentence].append(Hypothesis(ids[: length - 1], score))
            results[sentence].sort(key=attrgetter("score"), reverse=True)


def truncate(
    log_weights: Float[Tensor, "B K V"], top_k: int, top_p: float
) -> Float[Tensor, "B K V"]:
    """Set the weights of all but the most likely tokens to ``-inf``.

    Args:
        log_weights: Logarithms of unnormalized probabilities.
        top_k: Number of tokens to keep; 0: all.
        top_p: Of these, keep the fewest that together have this probability.
    """
    if 0 < top_k < log_weights.size(2):
        best = log_weights.topk(top_k, dim=2)
        nothing = torch.full_like(log_weights, NEVER)
        log_weights = nothing.scatter(2, best.indices, best.values)
    if top_p < 1:
        share, token = log_weights.double().softmax(2).sort(dim=2, descending=True, stable=True)
        dropped = share.cumsum(2) - share >= top_p  # more likely tokens suffice; never the first
        log_weights = log_weights.masked_fill(
            torch.zeros_like(dropped).scatter(2, token, dropped), NEVER
        )
    return log_weights


def draw(log_weights: Float[Tensor, "B K V"], uniform: Float[Tensor, "B K"]) -> Int[Tensor, "B K"]:
    """Draw a token by inverting the cumulative distribution at each number of [0, 1).

    Tokens are in the order of the vocabulary. Sorted by probability, the order of two that are
    nearly equal would depend on rounding, which depends on the batch.
    """
    cumulative = log_weights.double().softmax(2).cumsum(2)
    place = uniform[:, :, None] * cumulative[:, :, -1:]
    token = torch.searchsorted(cumulative, place, right=True)[:, :, 0]
    return token.clamp(max=log_weights.size(2) - 1)  # NaN sorts after the last
