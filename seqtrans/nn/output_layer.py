"""The last layer of a translation model."""

from seqtrans.nn.kernels.linear import Linear
from seqtrans.nn.kernels.log_softmax import log_probabilities
from seqtrans.nn.kernels.soft_cap import soft_capped
from seqtrans.tensor_types import Float, Tensor


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

    def log_probabilities(self, features: Float[Tensor, "B K D"]) -> Float[Tensor, "B K V"]:
        """Return the log-probabilities of all tokens, in at least fp32."""
        return log_probabilities(super().forward(features), self.soft_cap)
