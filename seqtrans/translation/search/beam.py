"""Beam search over any ``Seq2SeqModel``.

Hypotheses are an axis of their own, never folded into the batch, so there is no offset
arithmetic. A *live* hypothesis can still grow; a *finished* one ends in EOS. Scores are
log-probabilities divided by ``length ** length_penalty``, EOS counted, BOS not.

Tokens are kept as a trellis, one column of (token, parent) per step, and read backwards once a
sentence is done: nothing that grows with the length is copied from step to step.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import pad

from seqtrans.tensor_types import Bool, Float, Tensor
from seqtrans.translation.protocols import (
    Hypothesis,
    SearchInput,
    Seq2SeqModel,
    SourceBatch,
    StateT,
)
from seqtrans.translation.search.repetition import extend
from seqtrans.translation.search.rules import OutputRules
from seqtrans.translation.search.top_k import NEVER, Candidates, best_continuations
from seqtrans.translation.search.trellis import Finished, Live, Search, Step

_WORTH_DROPPING = 0.125  # share of settled sentences from which copying the others pays


@dataclass(frozen=True, kw_only=True)
class BeamSearch:
    """Beam search with exact stopping; a ``Searcher``.

    A sentence is done when no live hypothesis can beat the worst of its finished ones that count
    any more, however it went on. A hypothesis that reaches the longest length allowed must take
    EOS next, so that every result ends in EOS and scores what the model gives it. That length
    depends on the sentence alone, never on its neighbours in the batch.

    Args:
        rules: What every output must keep to.
        beam_size: Hypotheses kept per sentence; 1 is greedy search.
        length_penalty: Exponent of the length in the score; 0 favors short output.
        n_best: Hypotheses wanted per sentence; at most ``beam_size``.
        spare: Hypotheses returned besides, for those among them that turn out to be the same text.

    Raises:
        ValueError: The settings contradict each other.
    """

    rules: OutputRules
    beam_size: int = 5
    length_penalty: float = 1.0
    n_best: int = 1
    spare: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.n_best <= self.beam_size:
            raise ValueError(f"n_best ({self.n_best}) must be 1 to beam_size ({self.beam_size})")
        if self.length_penalty < 0:
            raise ValueError(f"length_penalty ({self.length_penalty}) must be at least 0")

    @torch.inference_mode()
    def __call__(
        self, model: Seq2SeqModel[StateT], source: SourceBatch, inputs: Sequence[SearchInput]
    ) -> list[list[Hypothesis]]:
        """Translate a batch; per sentence, ``n_best + spare`` hypotheses at most, best first.

        Raises:
            FloatingPointError: The model's log-probabilities are not numbers.
        """
        found: list[list[Hypothesis]] = [[] for _ in inputs]
        search = self.start(source.mask)
        state = model.begin(source)
        while True:
            log_probs, state = model.decode_step(search.live.token, state)
            search = self.advance(search, log_probs)
            settled = self.is_settled(search)
            count = int(settled.sum())
            if count == len(settled):
                self._read_out(search, found)
                return found
            if count >= _WORTH_DROPPING * len(settled):
                self._read_out(search.keep(settled.nonzero()[:, 0]), found)
                growing = (~settled).nonzero()[:, 0]
                search, state = search.keep(growing), state.keep(growing)
            if self.beam_size > 1:
                state = state.reorder(search.trellis[-1].parent)

    def start(self, source_mask: Bool[Tensor, "B S"]) -> Search:
        """What is known before the first step: one live hypothesis per sentence, only BOS."""
        device, sentences = source_mask.device, source_mask.size(0)
        log_prob = torch.zeros((sentences, 1), device=device)
        nothing = torch.zeros(
            (sentences, self.n_best + self.spare), dtype=torch.long, device=device
        )
        return Search(
            sentence=torch.arange(sentences, device=device),
            limit=self.rules.limit(source_mask.sum(1)),
            live=Live(torch.full_like(log_prob, self.rules.bos, dtype=torch.long), log_prob),
            finished=Finished(log_prob.new_full(nothing.shape, NEVER), nothing, nothing),
            history=nothing.new_empty((sentences, 1, 0)) if self.rules.needs_history else None,
        )

    def advance(self, search: Search, log_probs: Float[Tensor, "B K V"]) -> Search:
        """Grow every live hypothesis by one token: a pure function.

        2K candidates are drawn: at most K of them can end in EOS, so K survive to live on.
        """
        length, history = len(search.trellis) + 1, search.history
        if history is not None:
            log_probs = self.rules.without_repeats(log_probs, history)
        candidates = best_continuations(
            search.live.log_prob, log_probs, 2 * self.beam_size, self.rules.banned
        )
        candidates = self._end_at_limit(candidates, search, log_probs[:, :, self.rules.eos])
        log_prob, parent, token = candidates
        ended = token == self.rules.eos

        alive = min(self.beam_size, log_prob.size(1))  # of a tiny vocabulary, too few at first
        growing, slot = log_prob.masked_fill(ended, NEVER).topk(alive, dim=1)
        step = Step(token.gather(1, slot), parent.gather(1, slot))

        score = self.score(log_prob, length).masked_fill(~ended, NEVER)
        finished = search.finished.merge(Finished(score, torch.full_like(token, length), parent))
        return Search(
            sentence=search.sentence,
            limit=search.limit,
            live=Live(step.token, growing),
            finished=finished,
            trellis=(*search.trellis, step),
            history=None if history is None else extend(history, step.parent, step.token),
        )

    def score(self, log_prob: Tensor, length: Tensor | int) -> Tensor:
        """Length-normalized score of hypotheses of ``length`` tokens, EOS counted."""
        return log_prob / length**self.length_penalty

    def is_settled(self, search: Search) -> Bool[Tensor, " B"]:
        """Whether no live hypothesis can beat the worst of the finished ones any more.

        Log-probabilities only fall, and dividing by the longest length flatters the most.
        """
        best_possible = self.score(search.live.log_prob[:, 0], search.limit)
        at_limit = search.limit <= len(search.trellis)
        return at_limit | (search.finished.score[:, -1] >= best_possible)

    def _end_at_limit(
        self, candidates: Candidates, search: Search, eos_log_prob: Float[Tensor, "B K"]
    ) -> Candidates:
        """Where the length is used up, let every hypothesis take EOS and nothing else."""
        log_prob, parent, token = candidates
        count, live = log_prob.size(1), search.live.log_prob.size(1)
        ending = pad(search.live.log_prob + eos_log_prob, (0, count - live), value=NEVER)
        slot = torch.arange(count, device=token.device).clamp(max=live - 1)
        at_limit = (search.limit <= len(search.trellis) + 1)[:, None]
        return Candidates(
            torch.where(at_limit, ending, log_prob),
            torch.where(at_limit, slot, parent),
            token.masked_fill(at_limit, self.rules.eos),
        )

    def _read_out(self, search: Search, found: list[list[Hypothesis]]) -> None:
        """Follow the finished hypotheses back to BOS."""
        tokens = [step.token.tolist() for step in search.trellis]
        parents = [step.parent.tolist() for step in search.trellis]
        ends = zip(*(x.tolist() for x in search.finished), strict=True)
        for row, (sentence, end) in enumerate(zip(search.sentence.tolist(), ends, strict=True)):
            for score, length, slot in zip(*end, strict=True):
                if math.isnan(score):
                    raise FloatingPointError("the model's log-probabilities are not numbers (NaN)")
                if score == NEVER:
                    continue
                body: list[int] = []
                at = slot
                for column in range(length - 2, -1, -1):  # the last column has no EOS in it
                    body.append(tokens[column][row][at])
                    at = parents[column][row][at]
                found[sentence].append(Hypothesis(body[::-1], score))
            if not found[sentence]:
                raise FloatingPointError("the model gives no output any probability")
