"""The model as training calls it."""

from contextlib import AbstractContextManager, nullcontext

from torch import nn

from seqtrans.protocols import Shard
from seqtrans.training.compilation import Compiled
from seqtrans.training.distributed import in_parallel


class Replica:
    """A model that shares its gradients with other processes, compiled where that is wanted.

    Both hold on to which parameters have gradients, so after a change of that it takes a new one.
    """

    def __init__(self, model: nn.Module, shard: Shard, *, compiled: bool) -> None:
        self._parallel = in_parallel(model, shard)
        plain = self._parallel or model
        self.module = Compiled(plain) if compiled else plain

    def sharing(self, *, only_if: bool) -> AbstractContextManager[None]:
        """Within, a backward pass sums gradients over all processes; or not yet."""
        return nullcontext() if only_if or not self._parallel else self._parallel.no_sync()
