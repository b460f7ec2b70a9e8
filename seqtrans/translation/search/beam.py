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
from typing import NamedTuple

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
from seqtrans.translation.search.rules import OutputRules
from seqtrans.translation.search.top_k import NEVER, Candidates, best_continuations

DROP_DONE_AT = 0.125  # share of sentences that are done at which copying the others is worthwhile


class Live(NamedTuple):
    """Hypotheses that can grow, best first; log-probability ``-inf`` marks an empty slot.

    Before the first step there is one (K = 1), with BOS alone; later up to ``beam_size``.
    """

    token: Int[Tensor, "B K"]  # the last one
    log_prob: Float[Tensor, "B K"]


class Finished(NamedTuple):
    """The best N finished hypotheses, best first; score ``-inf`` marks an empty slot."""

    score: Float[Tensor, "B N"]
    length: Int[Tensor, "B N"]  # with EOS
    slot: Int[Tensor, "B N"]  # of the live hypothesis before EOS

    def merge(self, newer: "Finished") -> "Finished":
        """Return the best N of both; of equal scores, the older hypothesis comes first."""
        score = torch.cat((self.score, newer.score), dim=1)
        best, place = score.sort(dim=1, descending=True, stable=True)
        place = place[:, : self.score.size(1)]
        length = torch.cat((self.length, newer.length), dim=1).gather(1, place)
        slot = torch.cat((self.slot, newer.slot), dim=1).gather(1, place)
        return Finished(best[:, : self.score.size(1)], length, slot)


class Step(NamedTuple):
    """The token of each live hypothesis at one step, and the hypothesis that it continued."""

    token: Int[Tensor, "B K"]
    parent: Int[Tensor, "B K"]  # slot in the previous step


@dataclass(frozen=True)
class Search:
    """State of the search for the sentences that are not done."""

    sentence: Int[Tensor, " B"]  # row of the batch
    limit: Int[Tensor, " B"]  # maximum output length with EOS
    live: Live
    finished: Finished
    steps: tuple[Step, ...] = ()
    ended: Int[Tensor, " B"] | None = None  # hypotheses that ended; None: stopping is exact
    history: Int[Tensor, "B K T"] | None = None  # live tokens without BOS; None: rules need none

    def keep(self, rows: Int[Tensor, " R"]) -> "Search":
        """Keep only these sentences."""
        return Search(
            self.sentence[rows],
            self.limit[rows],
            Live(*(x[rows] for x in self.live)),
            Finished(*(x[rows] for x in self.finished)),
            tuple(Step(step.token[rows], step.parent[rows]) for step in self.steps),
            None if self.ended is None else self.ended[rows],
            None if self.history is None else self.history[rows],
        )


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
        search = self.start(source.mask)
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

    def start(self, source_mask: Bool[Tensor, "B S"]) -> Search:
        """Return the state before the first step: one live hypothesis per sentence, only BOS."""
        device, sentences = source_mask.device, source_mask.size(0)
        log_prob = torch.zeros((sentences, 1), device=device)
        zeros = torch.zeros((sentences, self.n_best + self.spare), dtype=torch.long, device=device)
        return Search(
            sentence=torch.arange(sentences, device=device),
            limit=self.rules.limit(source_mask.sum(1)),
            live=Live(torch.full_like(log_prob, self.rules.bos, dtype=torch.long), log_prob),
            finished=Finished(log_prob.new_full(zeros.shape, NEVER), zeros, zeros),
            ended=None if self.enough is None else zeros[:, 0],
            history=zeros.new_empty((sentences, 1, 0)) if self.rules.needs_history else None,
        )

    def advance(self, search: Search, log_probs: Float[Tensor, "B K V"]) -> Search:
        """Extend each live hypothesis by one token; a pure function.

        Of the best 2K candidates at most K end with EOS, so K stay live.
        """
        length, history = len(search.steps) + 1, search.history
        eos_log_prob = log_probs[:, :, self.rules.eos]  # at maximum length no rule forbids EOS
        if history is not None:
            log_probs = self.rules.without_forbidden(log_probs, history)
        candidates = best_continuations(
            search.live.log_prob, log_probs, 2 * self.beam_size, self.rules.banned
        )
        candidates = self._end_at_limit(candidates, search, eos_log_prob)
        log_prob, parent, token = candidates
        ended = token == self.rules.eos
        count = search.ended
        if count is not None:  # of the paper's search, an end among the other K is none
            log_prob[:, self.beam_size :].masked_fill_(ended[:, self.beam_size :], NEVER)
            count = count + (ended & (log_prob > NEVER)).sum(1)

        size = min(self.beam_size, log_prob.size(1))  # a tiny vocabulary has few candidates
        growing, slot = log_prob.masked_fill(ended, NEVER).topk(size, dim=1)
        step = Step(token.gather(1, slot), parent.gather(1, slot))
        if history is not None:
            history = gather_hypotheses(history, step.parent)
            history = torch.cat((history, step.token[:, :, None]), dim=2)

        finished = self.merge(search.finished, log_prob.masked_fill(~ended, NEVER), length, parent)
        return Search(
            sentence=search.sentence,
            limit=search.limit,
            live=Live(step.token, growing),
            finished=finished,
            steps=(*search.steps, step),
            ended=count,
            history=history,
        )

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

    def _end_at_limit(
        self, candidates: Candidates, search: Search, eos_log_prob: Float[Tensor, "B K"]
    ) -> Candidates:
        """Replace the candidates of sentences at maximum length by EOS for each hypothesis."""
        log_prob, parent, token = candidates
        count, live = log_prob.size(1), search.live.log_prob.size(1)
        ending = pad(search.live.log_prob + eos_log_prob, (0, count - live), value=NEVER)
        slot = torch.arange(count, device=token.device).clamp(max=live - 1)
        at_limit = (search.limit <= len(search.steps) + 1)[:, None]
        return Candidates(
            torch.where(at_limit, ending, log_prob),
            torch.where(at_limit, slot, parent),
            token.masked_fill(at_limit, self.rules.eos),
        )

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
