"""The last layer of a translation model."""

from typing import NamedTuple

from seqtrans.nn.kernels.consistency import ConsistencyTerms, linear_consistency
from seqtrans.nn.kernels.cross_entropy import linear_cross_entropy
from seqtrans.nn.kernels.linear import Linear, linear
from seqtrans.nn.kernels.log_softmax import log_probabilities
from seqtrans.nn.kernels.soft_cap import soft_capped
from seqtrans.tensor_types import Bool, Float, Int, Tensor


class OutputRows(NamedTuple):
    """The part of an output layer that computes the logits of some tokens."""

    tokens: Int[Tensor, " U"]
    weight: Float[Tensor, "U D"]
    bias: Float[Tensor, " U"]


class OutputLayer(Linear):
    """A linear map from features to logits.

    Args:
        features: Features at a position.
        vocab: Number of target tokens.
        soft_cap: Bound of the logits, which a tanh keeps within plus and minus it
            (arXiv:2408.00118); None: no bound.
    """

    def __init__(self, features: int, vocab: int, soft_cap: float | None = None) -> None:
        super().__init__(features, vocab)
        self.soft_cap = soft_cap

    def forward(self, input: Float[Tensor, "*P D"]) -> Float[Tensor, "*P V"]:
        """Return the logits."""
        logits = super().forward(input)
        return logits if self.soft_cap is None else soft_capped(logits, self.soft_cap)

    def log_probabilities(self, features: Float[Tensor, "*P D"]) -> Float[Tensor, "*P V"]:
        """Return the log-probabilities of all tokens, in at least fp32."""
        return log_probabilities(super().forward(features), self.soft_cap)

    def cross_entropy(
        self,
        features: Float[Tensor, "N D"],
        target: Int[Tensor, " N"],
        label_smoothing: float,
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Return the loss, summed over positions; see ``linear_cross_entropy``."""
        return linear_cross_entropy(
            features, self.weight, self.bias, target, label_smoothing, self.soft_cap
        )

    def consistency(
        self,
        features: Float[Tensor, "twice D"],
        target: Int[Tensor, " N"],
        label_smoothing: float,
        terms: ConsistencyTerms,
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, ""]]:
        """Return the loss of two passes over the same positions; see ``linear_consistency``.

        ``features`` are those of the first pass, then those of the second.
        """
        both = features.unflatten(0, (2, -1))
        return linear_consistency(
            both, self.weight, self.bias, target, label_smoothing, terms, self.soft_cap
        )

    def rows(self, tokens: Int[Tensor, " U"]) -> OutputRows:
        """Return the part for some tokens."""
        return OutputRows(tokens, self.weight[tokens], self.bias[tokens])

    def log_probabilities_of(
        self, rows: OutputRows, features: Float[Tensor, "B K D"], allowed: Bool[Tensor, "B U"]
    ) -> Float[Tensor, "B K V"]:
        """Return log-probabilities among the ``allowed`` tokens of ``rows``; others have ``-inf``.

        They are those of all tokens if the logits of the others were ``-inf``.
        """
        logits = linear(features, rows.weight, rows.bias)
        if self.soft_cap is not None:
            logits = soft_capped(logits, self.soft_cap)
        logits = logits.masked_fill(~allowed[:, None], float("-inf"))
        some = log_probabilities(logits)
        every = some.new_full((*some.shape[:2], self.out_features), float("-inf"))
        return every.index_copy_(2, rows.tokens, some)
