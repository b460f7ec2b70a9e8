"""Tasks and models for which memory runs out."""

import torch
from torch import nn

from tests.support.toy_training import (
    VOCAB,
    ToyModel,
)


class Short:
    """A task for which memory is short: batches above a size fail, on some ranks.

    Args:
        task: The task.
        cap: The largest size that memory holds.
        where: Fail ``before`` or after the ``forward`` pass or, when most gradients are there,
            ``backward``.
    """

    def __init__(self, task, cap, where="forward"):
        self.task, self.cap, self.where = task, cap, where
        self.failures, self.largest, self.hook = 0, 0, None

    def __getattr__(self, name):
        return getattr(self.task, name)

    def loss_sums(self, model, batch):
        if self.hook:
            self.hook.remove()
        is_short = batch.size > self.cap
        self.failures += is_short
        if is_short and self.where == "before":
            raise torch.OutOfMemoryError("CUDA out of memory")
        sums = self.task.loss_sums(model, batch)
        if not is_short:
            self.largest = max(self.largest, batch.size)
            return sums
        if self.where == "forward":
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.hook = next(model.parameters()).register_hook(self._fail)  # whose gradient comes last
        return sums

    def _fail(self, _):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")


class Deep(ToyModel):
    """Larger than one bucket of DDP."""

    def __init__(self):
        super().__init__(dim=400)
        self.hidden = nn.Sequential(*(nn.Linear(400, 400) for _ in range(4)))


class Wide(nn.Module):
    """Keeps 32 MB of fp64 for every 1,024 rows of 16 tokens, several times."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, 256)
        self.out = nn.Linear(256, VOCAB)

    def forward(self, token):
        return self.out(torch.tanh(torch.tanh(self.embedding(token))).mean(1))
