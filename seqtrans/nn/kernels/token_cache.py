"""Cache of a function's result for each token, while a batch is searched."""

from collections.abc import Callable

import torch
import torch.nn.functional as F

from seqtrans.nn.kernels.linear import rounded_up
from seqtrans.tensor_types import Float, Int, Tensor


class TokenRows:
    """Caches a function of single tokens: a token's row is computed when it first occurs.

    Tokens of a batch occur many times (random weights, 180 sentences: 2,300 of 8,000 tokens in
    9,000 positions), so a recurrent decoder need not multiply the same embedding by the same
    weights each time. Rows are only added, so hypotheses and states may share them. Space for all
    tokens is allocated at once; the system provides it as rows are written.

    Nothing is cached while gradients are recorded, nor on a GPU, which would have to synchronize to
    count the new tokens.

    Args:
        compute: Rows of tokens; each must depend on its token alone.
        vocab: Number of tokens.
    """

    def __init__(
        self, compute: Callable[[Int[Tensor, "*P"]], Float[Tensor, "*P G"]], vocab: int
    ) -> None:
        self._compute = compute
        self._is_known = torch.zeros(vocab, dtype=torch.bool)
        self._rows: Float[Tensor, "V G"] | None = None

    def __call__(self, token: Int[Tensor, "*P"]) -> Float[Tensor, "*P G"]:
        """Return the rows of ``token``."""
        if torch.is_grad_enabled() or not token.is_cpu:
            return self._compute(token)
        new = token[~self._is_known[token]].unique()
        if self._rows is None or len(new):
            padded = F.pad(new, (0, rounded_up(len(new)) - len(new)))
            rows = self._compute(padded)[: len(new)]
            if self._rows is None:
                self._rows = rows.new_empty(len(self._is_known), rows.size(-1))
            self._rows[new] = rows
            self._is_known[new] = True
        return F.embedding(token, self._rows)
