"""Log-probabilities of large vocabularies."""

import torch
import torch.nn.functional as F

from seqtrans.nn.kernels.soft_cap import soft_capped
from seqtrans.tensor_types import Float, Tensor

_CPU_BLOCK = 1 << 18  # numbers per thread; 1 MB of fp32 fits a core's cache


def log_probabilities(
    logits: Float[Tensor, "*P V"], soft_cap: float | None = None
) -> Float[Tensor, "*P V"]:
    """Return the log-softmax over the vocabulary of ``soft_capped`` logits, in at least fp32.

    On a CPU it is computed for a few sentences at a time: with 900 rows of 8,000 bf16 logits, the
    fp32 copy alone has 28 MB, and memory that is allocated and freed at every step comes from the
    system, which clears it page by page (13,000 of them, two thirds of the time).
    """
    wide = torch.promote_types(logits.dtype, torch.float32)
    if not logits.is_cpu or torch.is_grad_enabled():
        capped = logits if soft_cap is None else soft_capped(logits, soft_cap)
        return F.log_softmax(capped, dim=-1, dtype=wide)
    # fp32 logits are not needed any more, so they are overwritten.
    log_probs = logits if logits.dtype == wide else torch.empty_like(logits, dtype=wide)
    rows = max(1, _CPU_BLOCK * torch.get_num_threads() // max(1, logits[:1].numel()))
    for block, into in zip(logits.split(rows), log_probs.split(rows), strict=True):
        if wide != logits.dtype:
            into.copy_(block)
        if soft_cap is not None:
            into.div_(soft_cap).tanh_().mul_(soft_cap)
        torch.log_softmax(into, dim=-1, out=into)
    return log_probs
