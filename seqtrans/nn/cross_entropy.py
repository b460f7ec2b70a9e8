"""Output projection and label-smoothed cross-entropy in one."""

import torch
import torch.nn.functional as F

from seqtrans.shapes import Float, Int, Tensor


def linear_cross_entropy(
    features: Float[Tensor, "N D"],
    weight: Float[Tensor, "V D"],
    bias: Float[Tensor, " V"],
    target: Int[Tensor, " N"],
    label_smoothing: float = 0.0,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Summed smoothed loss and summed negative log-likelihood."""
    logits = F.linear(features, weight, bias).float()
    loss = F.cross_entropy(logits, target, label_smoothing=label_smoothing, reduction="sum")
    with torch.no_grad():
        nll = F.cross_entropy(logits, target, reduction="sum")
    return loss, nll
