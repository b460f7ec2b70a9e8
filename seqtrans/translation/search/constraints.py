"""Phrases that the output must have, or must not have, and tokens that it begins with.

All phrases of a sentence are matched at once, as the shift-and algorithm matches: each token of
each phrase is a row, and a hypothesis ends with the first n tokens of a phrase if it ended with
the first n - 1 and its last token is the nth. So phrases may overlap, and one may begin anew before
it is complete.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from seqtrans.nn.gather import gather_hypotheses
from seqtrans.tensor_types import Bool, Float, Int, Tensor
from seqtrans.translation.protocols import SearchInput
from seqtrans.translation.search.top_k import NEVER, Candidates


@dataclass(frozen=True)
class Constraints:
    """The phrases of each sentence, and how far each hypothesis is; N rows, right-padded.

    Attributes:
        token: The tokens of every phrase, one phrase after the other; -1 is padding.
        place: Number of the token in its phrase, from 1; 0 is padding.
        last: Row of the last token of the phrase.
        is_required: Whether the output must have the phrase; otherwise it must not.
        is_matched: Whether the hypothesis ends with the phrase up to this token.
        is_met: Whether the hypothesis has the phrase.
    """

    token: Int[Tensor, "B N"]
    place: Int[Tensor, "B N"]
    last: Int[Tensor, "B N"]
    is_required: Bool[Tensor, "B N"]
    is_matched: Bool[Tensor, "B K N"]
    is_met: Bool[Tensor, "B K N"]

    @classmethod
    def of(cls, inputs: Sequence[SearchInput], device: torch.device) -> "Constraints | None":
        """Return the constraints of a batch before the first token; None if there are none."""
        rows = [_rows(one) for one in inputs]
        size = max(map(len, rows), default=0)
        if not size:
            return None
        padding = (-1, 0, 0, 0)
        table = torch.tensor([[*of, *[padding] * (size - len(of))] for of in rows], device=device)
        token, place, last, is_required = table.unbind(2)
        nothing = torch.zeros_like(token, dtype=torch.bool)[:, None]
        return cls(token, place, last, is_required.bool(), nothing, nothing)

    def keep(self, rows: Int[Tensor, " R"]) -> "Constraints":
        """Keep only these sentences."""
        return Constraints(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    @property
    def is_wanted(self) -> Bool[Tensor, " B"]:
        """Whether the output must have any phrase."""
        return self.is_required.any(1)

    @property
    def is_satisfied(self) -> Bool[Tensor, "B K"]:
        """Whether the hypothesis has every phrase that it must have."""
        return (self.is_met | ~self.is_required[:, None]).all(2)

    def advance(self, parent: Int[Tensor, "B J"], token: Int[Tensor, "B J"]) -> "Constraints":
        """Return the constraints of hypotheses that continue ``parent`` by ``token``."""
        before = gather_hypotheses(self._is_next, parent)
        is_matched = before & (token[:, :, None] == self.token[:, None])
        complete = is_matched.gather(2, self.last[:, None].expand_as(is_matched))
        is_met = gather_hypotheses(self.is_met, parent) | (complete & (self.place[:, None] > 0))
        return replace(self, is_matched=is_matched, is_met=is_met)

    def select(self, slot: Int[Tensor, "B J"]) -> "Constraints":
        """Return the constraints of these hypotheses."""
        matched = gather_hypotheses(self.is_matched, slot)
        return replace(self, is_matched=matched, is_met=gather_hypotheses(self.is_met, slot))

    def without_unmet(
        self,
        log_prob: Float[Tensor, "B J"],
        ended: Bool[Tensor, "B J"],
        is_forced: Bool[Tensor, " B"],
        has_finished: Bool[Tensor, " B"],
    ) -> Float[Tensor, "B J"]:
        """Return ``-inf`` for candidates that end without all phrases that they must have.

        If a sentence must end and none has all, those with the most tokens of phrases remain.

        Args:
            log_prob: Log-probability of each candidate; these are their constraints.
            ended: Whether it ends with EOS.
            is_forced: Whether all candidates of a sentence have a given last token.
            has_finished: Whether a hypothesis has ended with all phrases before.
        """
        bank = self.bank().masked_fill(log_prob == NEVER, -1)
        is_best = (bank == bank.amax(1, keepdim=True)) & (is_forced & ~has_finished)[:, None]
        return log_prob.masked_fill(ended & ~self.is_satisfied & ~is_best, NEVER)

    def bank(self) -> Int[Tensor, "B K"]:
        """Return the tokens of phrases that each hypothesis has met, or is about to meet."""
        ends = (self.place[:, None] > 0) & (self.last == self._row)[:, None]
        met = self.is_required[:, None] & self.is_met
        begun = self.is_required[:, None] & self.is_matched & ~self.is_met
        place = self.place[:, None]
        return (met & ends).mul(place).sum(2) + begun.mul(place).amax(2)

    def without_avoided(self, log_probs: Float[Tensor, "B K V"]) -> Float[Tensor, "B K V"]:
        """Return log-probabilities that are ``-inf`` for tokens that complete a phrase to avoid."""
        ends = (self.place > 0) & ~self.is_required & (self.last == self._row)
        if not ends.any():
            return log_probs
        is_forbidden = self._is_next & ends[:, None]
        penalty = log_probs.new_zeros(is_forbidden.shape).masked_fill(is_forbidden, NEVER)
        token = self.token.clamp(min=0)[:, None].expand_as(is_forbidden)
        return log_probs.scatter_add(2, token, penalty)

    def add_needed(
        self,
        candidates: Candidates,
        log_prob: Float[Tensor, "B K"],
        log_probs: Float[Tensor, "B K V"],
        banned: Sequence[int],
    ) -> Candidates:
        """Add the best token of each hypothesis, and those that continue or begin phrases.

        Only sentences with phrases get them; a candidate that is there already gets ``-inf``.
        """
        sentences, live, rows = self.is_matched.shape
        needed = self._is_next & (self.is_required[:, None] & ~self.is_met)
        tokens = self.token.clamp(min=0)[:, None].expand_as(needed)
        value = log_probs.gather(2, tokens).masked_fill(~needed, NEVER)
        best, best_token = log_probs.max(2, keepdim=True)
        value = torch.cat((value, best), 2) + log_prob[:, :, None]
        value = value.masked_fill(~self.is_wanted[:, None, None], NEVER)
        slot = torch.arange(live, device=value.device)[:, None].expand_as(value[0])
        more = Candidates(
            value.flatten(1),
            slot.expand(sentences, live, rows + 1).flatten(1),
            torch.cat((tokens, best_token), 2).flatten(1),
        )
        for forbidden in banned:
            more = more._replace(log_prob=more.log_prob.masked_fill(more.token == forbidden, NEVER))
        joined = Candidates(*(torch.cat(x, 1) for x in zip(candidates, more, strict=True)))
        distinct = _distinct(joined, log_probs.size(2))
        order = distinct.log_prob.argsort(dim=1, descending=True, stable=True)
        return Candidates(*(x.gather(1, order) for x in distinct))

    def allocate(self, log_prob: Float[Tensor, "B J"], size: int) -> Int[Tensor, "B size"]:
        """Return ``size`` of the candidates, whose constraints these are, best first.

        Those that have met the same number of tokens are a bank. Slots are dealt in rounds, one to
        every bank that has a candidate left, the fullest first (arXiv:1804.06609, 3.3, where empty
        banks also give their slots to others).

        Args:
            log_prob: Log-probability of each; ``-inf`` marks one that can't grow.
            size: Slots of the beam.
        """
        bank = self.bank()
        order = log_prob.argsort(dim=1, descending=True, stable=True)
        sorted_bank = bank.gather(1, order)
        same = sorted_bank[:, :, None] == sorted_bank[:, None]
        rank = same.tril(-1).sum(2)  # within the bank
        rounds = rank * (self.token.size(1) + 1) - sorted_bank
        rounds = rounds.masked_fill(
            log_prob.gather(1, order) == NEVER, torch.iinfo(rounds.dtype).max
        )
        first = rounds.argsort(dim=1, stable=True)[:, :size].sort(1).values  # best first again
        return order.gather(1, first)

    @property
    def _is_next(self) -> Bool[Tensor, "B K N"]:
        """Whether this token would continue its phrase; a first token always would."""
        begins = (self.place == 1)[:, None]
        shifted = self.is_matched.roll(1, 2)
        return begins | (shifted & (self.place > 1)[:, None])

    @property
    def _row(self) -> Int[Tensor, " N"]:
        return torch.arange(self.token.size(1), device=self.token.device)


def prefixes(inputs: Sequence[SearchInput], device: torch.device) -> Int[Tensor, "B P"] | None:
    """Return the tokens that each output begins with, padded by -1; None if there are none."""
    size = max((len(one.prefix) for one in inputs), default=0)
    if not size:
        return None
    rows = [[*one.prefix, *[-1] * (size - len(one.prefix))] for one in inputs]
    return torch.tensor(rows, device=device)


def _rows(one: SearchInput) -> list[tuple[int, int, int, int]]:
    """Return token, place, last row and whether it is required, of each token of each phrase."""
    rows: list[tuple[int, int, int, int]] = []
    phrases = [(phrase, 1) for phrase in one.constraints] + [(phrase, 0) for phrase in one.avoid]
    for phrase, is_required in dict.fromkeys(phrases):
        last = len(rows) + len(phrase) - 1
        rows += [(token, n, last, is_required) for n, token in enumerate(phrase, start=1)]
    return rows


def _distinct(candidates: Candidates, vocab: int) -> Candidates:
    """Mark all but the first of equal candidates as empty."""
    log_prob, parent, token = candidates
    key = parent * vocab + token
    is_same = (key[:, :, None] == key[:, None]) & (log_prob > NEVER)[:, None]
    is_repeated = is_same.tril(-1).any(2)
    return Candidates(log_prob.masked_fill(is_repeated, NEVER), parent, token)
