"""Beam search with any ``Seq2SeqModel``.

Hypotheses are an axis of the tensors, not folded into the batch. A *live* hypothesis can grow; a
*finished* one ends in EOS. A score is the log-probability divided by
``length ** length_penalty``; the length includes EOS, but not BOS.

Each step stores its tokens and their parents. The tokens of a hypothesis are collected backwards
when its sentence is done, so no step copies the tokens of previous steps.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import pad

from seqtrans.nn.gather import gather_hypotheses
from seqtrans.tensor_types import Bool, Float, Int, Tensor
from seqtrans.translation.protocols import (
    Hypothesis,
    SearchInput,
    Seq2SeqModel,
    SourceBatch,
    StateT,
)
from seqtrans.translation.search.beam_state import Finished, Live, Search, Step
from seqtrans.translation.search.constraints import Constraints, prefixes
from seqtrans.translation.search.rules import OutputRules
from seqtrans.translation.search.top_k import NEVER, Candidates, best_continuations

DROP_DONE_AT = 0.125  # share of sentences that are done at which copying the others is worthwhile


@dataclass(frozen=True, kw_only=True)
class BeamSearch:
    """Beam search; a ``Searcher``.

    With exact stopping, a sentence is done when no live hypothesis can still enter its best
    finished ones; else when enough hypotheses have ended (arXiv:2204.05424). A hypothesis
    of maximum length must end with EOS, so every result ends with EOS and has the score that the
    model gives it.

    Args:
        rules: Rules for the output.
        beam_size: Hypotheses kept per sentence; 1 is greedy search.
        length_penalty: Exponent of the length in the score; 0 favors short output.
        n_best: Hypotheses wanted per sentence; at most ``beam_size``.
        enough: Hypotheses of a sentence that must end, each among the ``beam_size`` best
            continuations; None: exact stopping.
        spare: Additional hypotheses to return, in case several are the same text.

    Raises:
        ValueError: A setting is out of range.
    """

    rules: OutputRules
    beam_size: int = 5
    length_penalty: float = 1.0
    n_best: int = 1
    enough: int | None = None
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
        """Translate a batch; return at most ``n_best + spare`` hypotheses per sentence, best first.

        Raises:
            FloatingPointError: Log-probabilities are NaN, or no output has a probability above 0.
        """
        results: list[list[Hypothesis]] = [[] for _ in inputs]
        search = self.start(source.mask, inputs)
        state = model.begin(source)
        while True:
            log_probs, state = model.decode_step(search.live.token, state)
            search = self.advance(search, log_probs)
            done = self.is_done(search)
            count = int(done.sum())
            if count == len(done):
                self._collect(search, results)
                return results
            if count >= DROP_DONE_AT * len(done):
                self._collect(search.keep(done.nonzero()[:, 0]), results)
                growing = (~done).nonzero()[:, 0]
                search, state = search.keep(growing), state.keep(growing)
            if self.beam_size > 1:
                state = state.reorder(search.steps[-1].parent)

    def start(self, source_mask: Bool[Tensor, "B S"], inputs: Sequence[SearchInput]) -> Search:
        """Return the state before the first step: one live hypothesis per sentence, only BOS."""
        device, sentences = source_mask.device, source_mask.size(0)
        log_prob = torch.zeros((sentences, 1), device=device)
        zeros = torch.zeros((sentences, self.n_best + self.spare), dtype=torch.long, device=device)
        return Search(
            sentence=torch.arange(sentences, device=device),
            limit=self.rules.limit_of(source_mask, inputs),
            live=Live(torch.full_like(log_prob, self.rules.bos, dtype=torch.long), log_prob),
            finished=Finished(log_prob.new_full(zeros.shape, NEVER), zeros, zeros),
            ended=None if self.enough is None else zeros[:, 0],
            prefix=prefixes(inputs, device),
            constraints=Constraints.of(inputs, device),
            history=zeros.new_empty((sentences, 1, 0)) if self.rules.needs_history else None,
        )

    def advance(self, search: Search, log_probs: Float[Tensor, "B K V"]) -> Search:
        """Extend each live hypothesis by one token; a pure function.

        Of the best 2K candidates at most K end with EOS, so K stay live.
        """
        candidates, is_forced = self._force(
            self._continuations(search, log_probs), search, log_probs
        )
        log_prob, parent, token = candidates
        ended = token == self.rules.eos
        constraints = search.constraints
        if constraints is not None:
            constraints = constraints.advance(parent, token)
            has_finished = search.finished.score[:, 0] > NEVER
            log_prob = constraints.without_unmet(log_prob, ended, is_forced, has_finished)
        log_prob, count = self._count_ended(log_prob, ended, search.ended)

        size = min(self.beam_size, log_prob.size(1))  # a tiny vocabulary has few candidates
        growing = log_prob.masked_fill(ended, NEVER)
        if constraints is None:
            growing, slot = growing.topk(size, dim=1)
        else:
            slot = constraints.allocate(growing, size)
            growing, constraints = growing.gather(1, slot), constraints.select(slot)
        step = Step(token.gather(1, slot), parent.gather(1, slot))
        length, ending = len(search.steps) + 1, log_prob.masked_fill(~ended, NEVER)
        return Search(
            sentence=search.sentence,
            limit=search.limit,
            live=Live(step.token, growing),
            finished=self.merge(search.finished, ending, length, parent),
            steps=(*search.steps, step),
            ended=count,
            prefix=search.prefix,
            constraints=constraints,
            history=_extended(search.history, step),
        )

    def _continuations(self, search: Search, log_probs: Float[Tensor, "B K V"]) -> Candidates:
        """Return the best continuations by a token that the rules allow."""
        constraints, log_prob = search.constraints, search.live.log_prob
        if constraints is not None:
            log_probs = constraints.without_avoided(log_probs)
        if search.history is not None:
            log_probs = self.rules.without_forbidden(log_probs, search.history)
        candidates = best_continuations(log_prob, log_probs, 2 * self.beam_size, self.rules.banned)
        if constraints is None:
            return candidates
        return constraints.add_needed(candidates, log_prob, log_probs, self.rules.banned)

    def _count_ended(
        self,
        log_prob: Float[Tensor, "B J"],
        ended: Bool[Tensor, "B J"],
        before: Int[Tensor, " B"] | None,
    ) -> tuple[Float[Tensor, "B J"], Int[Tensor, " B"] | None]:
        """Count the hypotheses that have ended; exact stopping counts none.

        Only ends among the K best count, and none once a sentence is done; others get ``-inf``.
        """
        if before is None or self.enough is None:
            return log_prob, before
        counts = torch.arange(log_prob.size(1), device=log_prob.device) < self.beam_size
        counts = counts & (before < self.enough)[:, None]
        log_prob = log_prob.masked_fill(ended & ~counts, NEVER)
        return log_prob, before + (ended & (log_prob > NEVER)).sum(1)

    def merge(
        self,
        finished: Finished,
        log_prob: Float[Tensor, "B C"],
        length: int,
        slot: Int[Tensor, "B C"],
    ) -> Finished:
        """Return the best finished hypotheses, also of those that end now.

        Args:
            finished: The best before.
            log_prob: Log-probability of each that ends now; ``-inf`` marks an empty slot.
            length: Their length with EOS.
            slot: The live hypothesis that each continues.
        """
        score = self.score(log_prob, length)
        return finished.merge(Finished(score, torch.full_like(slot, length), slot))

    def score(self, log_prob: Tensor, length: Tensor | int) -> Tensor:
        """Return the length-normalized score; ``length`` includes EOS."""
        return log_prob / length**self.length_penalty

    def is_done(self, search: Search) -> Bool[Tensor, " B"]:
        """Return whether enough hypotheses have ended, or no live one can beat the finished ones.

        Log-probabilities only fall, so the best possible score is the present one at maximum
        length.
        """
        at_limit = search.limit <= len(search.steps)
        if search.ended is not None and self.enough is not None:
            return at_limit | (search.ended >= self.enough) | (search.live.log_prob[:, 0] == NEVER)
        best_possible = self.score(search.live.log_prob[:, 0], search.limit)
        return at_limit | (search.finished.score[:, -1] >= best_possible)

    def _force(
        self, candidates: Candidates, search: Search, log_probs: Float[Tensor, "B K V"]
    ) -> tuple[Candidates, Bool[Tensor, " B"]]:
        """Replace candidates by the prefix's token, or EOS at maximum length, for each hypothesis.

        Also return which sentences were forced.
        """
        log_prob, parent, token = candidates
        step, count, live = len(search.steps), log_prob.size(1), search.live.log_prob.size(1)
        is_forced = search.limit <= step + 1
        forced = torch.full_like(search.limit, self.rules.eos)
        if search.prefix is not None and step < search.prefix.size(1):
            given = search.prefix[:, step]
            forced = torch.where(given < 0, forced, given)
            is_forced = is_forced | (given >= 0)
        gain = log_probs.gather(2, forced[:, None, None].expand(-1, live, 1))[:, :, 0]
        only = pad(search.live.log_prob + gain, (0, count - live), value=NEVER)
        slot = torch.arange(count, device=token.device).clamp(max=live - 1)
        forced_candidates = Candidates(
            torch.where(is_forced[:, None], only, log_prob),
            torch.where(is_forced[:, None], slot, parent),
            torch.where(is_forced[:, None], forced[:, None], token),
        )
        return forced_candidates, is_forced

    def _collect(self, search: Search, results: list[list[Hypothesis]]) -> None:
        """Add the finished hypotheses to ``results``, following their tokens back to BOS."""
        tokens = [step.token.tolist() for step in search.steps]
        parents = [step.parent.tolist() for step in search.steps]
        ends = zip(*(x.tolist() for x in search.finished), strict=True)
        for row, (sentence, end) in enumerate(zip(search.sentence.tolist(), ends, strict=True)):
            for score, length, slot in zip(*end, strict=True):
                if math.isnan(score):
                    raise FloatingPointError("the model's log-probabilities are not numbers (NaN)")
                if score == NEVER:
                    continue
                body: list[int] = []
                for step in range(length - 2, -1, -1):  # EOS is not among the steps' tokens
                    body.append(tokens[step][row][slot])
                    slot = parents[step][row][slot]
                results[sentence].append(Hypothesis(body[::-1], score))
            if not results[sentence]:
                raise FloatingPointError("the model gives no output any probability")


def _extended(history: Int[Tensor, "B K T"] | None, step: Step) -> Int[Tensor, "B J U"] | None:
    """Return the tokens of the live hypotheses after a step, if rules need them."""
    if history is None:
        return None
    return torch.cat((gather_hypotheses(history, step.parent), step.token[:, :, None]), dim=2)
