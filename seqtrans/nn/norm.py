"""Layer normalization and where it stands in a residual branch."""

from typing import Literal

from torch import nn

from seqtrans.nn.dropout import Dropout
from seqtrans.tensor_types import Float, Tensor

Norm = Literal["layer", "rms"]
NormPosition = Literal["pre", "post"]


def build_norm(norm: Norm, dim: int) -> nn.LayerNorm | nn.RMSNorm:
    """Layer normalization (arXiv:1607.06450), or its root-mean-square form (arXiv:1910.07467)."""
    return nn.LayerNorm(dim) if norm == "layer" else nn.RMSNorm(dim, eps=1e-6)


class Residual(nn.Module):
    """A branch beside the identity, normalized where it starts (``pre``) or at its end (``post``).

    ``pre`` (arXiv:2002.04745) trains without warm-up; ``post`` is arXiv:1706.03762. Usage:
    ``x = residual.join(x, block(residual.branch(x)))``.
    """

    def __init__(self, dim: int, norm: Norm, position: NormPosition, dropout: float) -> None:
        super().__init__()
        self.norm = build_norm(norm, dim)
        self.is_pre = position == "pre"
        self.dropout = Dropout(dropout)

    def branch(self, x: Float[Tensor, "B P D"]) -> Float[Tensor, "B P D"]:
        """What the block on the branch reads."""
        return self.norm(x) if self.is_pre else x

    def join(
        self, x: Float[Tensor, "B P D"], block: Float[Tensor, "B P D"]
    ) -> Float[Tensor, "B P D"]:
        """Add what the block returned, after dropout."""
        total = x + self.dropout(block)
        return total if self.is_pre else self.norm(total)
