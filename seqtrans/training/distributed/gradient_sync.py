"""How gradients travel between processes that each hold all of a model."""

from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import GradBucket  # pyright: ignore[reportPrivateImportUsage]

from seqtrans.tensor_types import Tensor


class Exchange:
    """Averages the gradients of DDP, bucket by bucket while the backward pass goes on.

    It knows how far that has come, so that a process whose backward pass has failed can give zeros
    for the rest: DDP's own way of averaging would leave the others waiting.

    Args:
        rounds: Whether gradients travel in bf16; PyTorch's own hook for that refuses gloo.
    """

    def __init__(self, *, rounds: bool) -> None:
        self._rounds = rounds
        self._begun: list[torch.futures.Future[Tensor]] = []

    def begin(self) -> None:
        """Prepare for a backward pass."""
        self._begun = []

    def average(self, bucket: GradBucket) -> torch.futures.Future[Tensor]:
        """Begin to average a bucket; DDP asks for one after the other."""
        exact = bucket.buffer()
        sent = exact.to(torch.bfloat16) if self._rounds else exact
        sent.div_(dist.get_world_size())

        def receive(done: torch.futures.Future[list[Tensor]]) -> Tensor:
            return exact.copy_(done.value()[0]) if self._rounds else done.value()[0]

        work: Any = dist.all_reduce(sent, async_op=True)
        self._begun.append(work.get_future().then(receive))
        return self._begun[-1]

    def finish(self, reducer: Any) -> None:
        """Average the buckets that are left as if they were zero, and wait for all.

        As DDP's ``join`` does for a process that has no more data.
        """
        for bucket in reducer._get_zeros_like_grad_buckets()[len(self._begun) :]:
            self.average(bucket)
        for future in self._begun:
            future.wait()
        self.begin()
