"""Minimum Bayes risk: choose the translation that is most like the others."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seqtrans.translation.evaluation.pairwise_scores import Utility, pairwise_scores
from seqtrans.translation.protocols import (
    Hypothesis,
    Searcher,
    SearchInput,
    Segmenter,
    Seq2SeqModel,
    SourceBatch,
    StateT,
)


@dataclass(frozen=True, kw_only=True)
class MinimumBayesRisk:
    """Ranks the hypotheses of another search by their expected utility; a ``Searcher``.

    The expected utility of a hypothesis is the mean of its scores with every hypothesis as the
    reference, itself included. Samples count alike, which estimates the expectation under the model
    without bias (arXiv:2108.04718, 3). Hypotheses of a beam weigh as ``probability ** scale``. The
    score of a hypothesis is its expected utility, from 0 to 100. Hypotheses with the same text
    become one, which weighs as much as all of them.

    Args:
        search: Finds the hypotheses.
        utility: Score of one text with another as the reference.
        target: Converts hypotheses to text.
        length_penalty: That of the scores of ``search``.
        scale: Exponent of probabilities, at least 0; 0: all count alike.
    """

    search: Searcher
    utility: Utility
    target: Segmenter
    length_penalty: float
    scale: float

    def __call__(
        self, model: Seq2SeqModel[StateT], source: SourceBatch, inputs: Sequence[SearchInput]
    ) -> list[list[Hypothesis]]:
        """Translate a batch; return the different hypotheses of each sentence, best first.

        Raises:
            DataError: The tokenizer of BLEU can't be loaded.
            FloatingPointError: See ``search``.
        """
        return [self.rank(found) for found in self.search(model, source, inputs)]

    def rank(self, hypotheses: Sequence[Hypothesis]) -> list[Hypothesis]:
        """Return the hypotheses with different texts of one sentence, best first."""
        texts = [self.target.decode(hypothesis.tokens) for hypothesis in hypotheses]
        numbers: dict[str, int] = {}
        number = [numbers.setdefault(text, len(numbers)) for text in texts]
        lengths = [(len(hypothesis.tokens) + 1) ** self.length_penalty for hypothesis in hypotheses]
        log_probs = np.array([h.score * n for h, n in zip(hypotheses, lengths, strict=True)])
        weights = np.bincount(number, np.exp(self.scale * (log_probs - log_probs.max())))
        utility = pairwise_scores(list(numbers), self.utility) @ (weights / weights.sum())
        first = [number.index(n) for n in range(len(numbers))]
        best_first = np.argsort(-utility, kind="stable")
        return [Hypothesis(hypotheses[first[n]].tokens, float(utility[n])) for n in best_first]
