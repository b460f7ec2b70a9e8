"""Sampling from any ``Seq2SeqModel``: outputs drawn token by token.

As in beam search, what is drawn for a sentence are hypotheses on an axis of their own. All random
numbers of a sentence are drawn before its first token, from its own seed, so that no sample depends
on the batch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

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
from seqtrans.translation.search.rules import OutputRules
from seqtrans.translation.search.top_k import NEVER

_COLDEST = 1e-30  # temperature; smaller ones are the same in fp32, or 0
_WORTH_DROPPING = 0.125  # share of sentences that are done from which copying the others pays


@dataclass(frozen=True)
class Samples:
    """What has been drawn for some sentences of a batch after T steps."""

    sentence: Int[Tensor, " B"]  # row of the batch
    limit: Int[Tensor, " B"]  # longest output, EOS counted
    uniform: Float[Tensor, "B L K"]  # numbers of 0 or more and less than 1, one a token
    tokens: Int[Tensor, "B K T"]  # without BOS; EOS from the end of a sample on
    log_prob: Float[Tensor, "B K"]
    has_ended: Bool[Tensor, "B K"]

    def keep(self, rows: Int[Tensor, " R"]) -> "Samples":
        """Drop every sentence but these."""
        return Samples(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Ancestral sampling; a ``Searcher``.

    The samples of a sentence are independent of each other, so that two may be equal. A sample that
    reaches the longest length allowed takes EOS next. A score is what the model gives the sample,
    whatever temperature, ``top_k`` and ``top_p`` made of its distribution.

    Args:
        rules: What every output must keep to.
        temperature: What log-probabilities are divided by before drawing, above 0.
        top_k: Likeliest tokens that are drawn from; 0: all.
        top_p: Share of probability that the tokens drawn from have at least, above 0.
        length_penalty: Exponent of the length in the score; 0 favors short output.
        n_best: Samples per sentence.
        seed: Decides, with that of the sentence, all that is drawn.
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
        """Draw ``n_best`` translations of every sentence of a batch; best first.

        Raises:
            FloatingPointError: The model's log-probabilities are not numbers.
        """
        found: list[list[Hypothesis]] = [[] for _ in inputs]
        samples = self._start(source, inputs)
        token = samples.tokens.new_full(samples.log_prob.shape, self.rules.bos)
        state = model.begin(source).reorder(torch.zeros_like(token))
        while True:
            log_probs, state = model.decode_step(token, state)
            samples = self.advance(samples, log_probs)
            done = samples.has_ended.all(1)
            count = int(done.sum())
            if count == len(done):
                self._read_out(samples, found)
                return found
            if count >= _WORTH_DROPPING * len(done):
                self._read_out(samples.keep(done.nonzero()[:, 0]), found)
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
        """Numbers for so many steps; those of the first steps are the same however many follow."""
        key = np.array([self.seed % 2**64, seed % 2**64], np.uint64)
        return np.random.Generator(np.random.Philox(key=key)).random((length, self.n_best))

    def advance(self, samples: Samples, log_probs: Float[Tensor, "B K V"]) -> Samples:
        """Draw one more token of every sample that has not ended: a pure function."""
        step, eos = samples.tokens.size(2), self.rules.eos
        banned = torch.tensor(self.rules.banned, dtype=torch.long, device=log_probs.device)
        allowed = log_probs.index_fill(2, banned, NEVER)
        allowed = self.rules.without_repeats(allowed, samples.tokens)
        # Differences to the best: 0 stays 0, however small the temperature is.
        behind = allowed - allowed.amax(2, keepdim=True)
        weights = truncate(behind / max(self.temperature, _COLDEST), self.top_k, self.top_p)
        token = draw(weights, samples.uniform[:, step])
        token = token.masked_fill((samples.limit == step + 1)[:, None] | samples.has_ended, eos)
        gain = allowed.gather(2, token[:, :, None])[:, :, 0].masked_fill(samples.has_ended, 0.0)
        return replace(
            samples,
            tokens=torch.cat((samples.tokens, token[:, :, None]), dim=2),
            log_prob=samples.log_prob + gain,
            has_ended=samples.has_ended | (token == eos),
        )

    def _read_out(self, samples: Samples, found: list[list[Hypothesis]]) -> None:
        rows = (samples.sentence, samples.tokens, samples.log_prob)
        for sentence, tokens, log_probs in zip(*(x.tolist() for x in rows), strict=True):
            for ids, log_prob in zip(tokens, log_probs, strict=True):
                if math.isnan(log_prob):
                    raise FloatingPointError("the model's log-probabilities are not numbers (NaN)")
                if log_prob == NEVER:
                    raise FloatingPointError("the model gives no output any probability")
                length = ids.index(self.rules.eos) + 1
                score = log_prob / length**self.length_penalty
                found[sentence].append(Hypothesis(ids[: length - 1], score))
            found[sentence].sort(key=_by_score, reverse=True)


def _by_score(hypothesis: Hypothesis) -> float:
    return hypothesis.score


def truncate(
    log_weights: Float[Tensor, "B K V"], top_k: int, top_p: float
) -> Float[Tensor, "B K V"]:
    """Return weights that are ``-inf`` but for the likeliest tokens.

    Args:
        log_weights: Logarithms of what tokens weigh; they need not sum to 1.
        top_k: Tokens that are left at most; 0: all.
        top_p: Share of what these weigh that is left at least: by the fewest tokens that have it.
    """
    if 0 < top_k < log_weights.size(2):
        best = log_weights.topk(top_k, dim=2)
        nothing = torch.full_like(log_weights, NEVER)
        log_weights = nothing.scatter(2, best.indices, best.values)
    if top_p < 1:
        share, token = log_weights.double().softmax(2).sort(dim=2, descending=True, stable=True)
        refused = share.cumsum(2) - share >= top_p  # the likelier ones are enough; never the first
        log_weights = log_weights.masked_fill(
            torch.zeros_like(refused).scatter(2, token, refused), NEVER
        )
    return log_weights


def draw(log_weights: Float[Tensor, "B K V"], uniform: Float[Tensor, "B K"]) -> Int[Tensor, "B K"]:
    """Return the token in whose share of the interval from 0 to 1 each number lies.

    Shares stand in the order of the vocabulary, not by size: where two are about equal, rounding
    would decide on their order, and rounding depends on the batch.
    """
    ends = log_weights.double().softmax(2).cumsum(2)
    place = uniform[:, :, None] * ends[:, :, -1:]
    token = torch.searchsorted(ends, place, right=True)[:, :, 0]
    return token.clamp(max=log_weights.size(2) - 1)  # NaN is behind the last
