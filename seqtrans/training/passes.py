"""The gradient of one update: a forward and a backward pass over every part that fits."""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic

import torch
from torch import nn

from seqtrans.errors import TrainingError
from seqtrans.protocols import BatchT, LossSums, Task
from seqtrans.training.buffers import Buffers
from seqtrans.training.checks import untouched
from seqtrans.training.config import TrainingConfig
from seqtrans.training.distributed import ProcessShard, all_or_none
from seqtrans.training.gradients import Gradients
from seqtrans.training.memory import is_out_of_memory, release
from seqtrans.training.parallel import Replica, Replicated, replicate
from seqtrans.training.precision import autocast, uses_bf16
from seqtrans.training.randomness import MicroBatchSeeds, start_generators
from seqtrans.training.sizes import Sizes

talk = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pass(Generic[BatchT]):
    """A part of a micro-batch that was learnt from."""

    batch: BatchT
    sums: LossSums
    counts: bool  # False: computed for nothing, so that other processes had company


class Passes(Generic[BatchT]):
    """Computes gradients, and finds out what fits into memory.

    Where memory runs out, in whichever process and pass, what there is of the gradient is thrown
    away and all processes compute all of it again, with smaller parts of micro-batches: ``sizes``
    says how small, from this step on. The sums stay those of whole micro-batches; but dropout
    draws for each part anew, and batch normalisation normalises each by itself.

    An update that fits costs nothing more: processes agree at its end, as they do on whether the
    loss is finite. Whoever has failed by then has given zeros to the others, who average their
    gradients while they compute them. Where weights are shared out there is nothing to give: the
    run ends, and once it goes on takes smaller parts.

    Args:
        task: What to learn from.
        model: What learns.
        config: How.
        shard: This process.
        sizes: What is known to fit.
    """

    def __init__(
        self,
        task: Task[BatchT],
        model: nn.Module,
        config: TrainingConfig,
        shard: ProcessShard,
        sizes: Sizes,
    ) -> None:
        self.task, self.model, self.config, self.shard = task, model, config, shard
        self.sizes, self.gradients = sizes, Gradients(model)
        self.device = next(model.parameters()).device
        self.bf16 = uses_bf16(config.precision, self.device)
        self.replica: Replica
        self.renew()
        self._seeds, self._buffers = MicroBatchSeeds(config.seed), Buffers(model)

    def renew(self) -> None:
        """Other parameters learn from here on, or what there was of a backward pass is lost.

        DDP arranges gradients anew after its first backward pass, as they became ready. Sums of
        more than two processes depend on that in their last bits, so a resumed run would have
        others in its first update; hence one pass for nothing, of the same batch in every run.

        Raises:
            TrainingError: Memory can't hold even that, in any process.
        """
        self.replica = replicate(self.model, self.config, self.shard)
        if not isinstance(self.replica, Replicated):
            return
        batch = _smallest(self.task.largest_batch())
        with untouched(self.model):
            fits = self._learn_from(batch, 0.0, shares=True) is not None
            if not fits:
                self.gradients.drop()
                release()
                self.replica.stand_in()
        if self.shard.sum([float(not fits)])[0]:
            raise _indivisible(batch.size)

    def begin(self) -> None:
        """An update is to come, of as many attempts as it takes."""
        self._buffers.note()

    def attempt(self, micro_batches: Sequence[BatchT], step: int) -> list[Pass[BatchT]] | BatchT:
        """Add up the gradient of an update; or the part for which memory ran out here.

        Every process must call it, and then, where it ran out in any, ``take_smaller``.

        Args:
            micro_batches: Those of this process, of which there may be none.
            step: Updates done before.
        """
        parts = list(self._parts(micro_batches, step))
        counts = [0.0] * self.shard.world
        counts[self.shard.rank] = float(len(parts))
        own_targets = sum(batch.num_targets for batch in micro_batches)
        num_targets, *counts = self.shard.sum([float(own_targets), *counts])
        done: list[Pass[BatchT]] = []
        number = int(max(counts))
        for i in range(number):
            is_spare = i >= len(parts)
            seed, batch = (0, self._spare(micro_batches, step)) if is_spare else parts[i]
            start_generators(self.device, seed)
            weight = 0.0 if is_spare else self.shard.world / num_targets
            sums = self._learn_from(batch, weight, shares=i == number - 1)
            if sums is None:
                self._stand_in(batch, step)
                return batch
            done.append(Pass(batch, sums, not is_spare))
        return done

    def take_smaller(self, failed: BatchT | None, step: int) -> None:
        """Agree on what fits, keep that, and make ready for another attempt.

        Args:
            failed: For which part memory ran out in this process; None: for none.
            step: Updates done before.

        Raises:
            TrainingError: What failed can't be divided, or what was learnt can't be kept.
        """
        own = None if failed is None else (failed.size, len(failed.halves()))
        found = [json.loads(text) for text in self.shard.gather(json.dumps(own))]
        shortages: list[tuple[int, int]] = [(size, parts) for size, parts in filter(None, found)]
        size = min(size for size, _ in shortages)
        if any(parts == 1 for _, parts in shortages):
            raise _indivisible(size, f"step {step + 1}: ")
        limit = self.sizes.learn(step, size)
        with all_or_none(self.shard, "what was learnt of memory"):
            if self.shard.rank == 0:
                self.sizes.write()
        text = (
            "step %d: memory ran out for %s %s, padding counted; what is larger than %s is divided"
        )
        talk.warning(text, step + 1, f"{size:,}", self.task.unit, f"{limit:,}")
        self.gradients.drop()
        release()
        self._buffers.restore()
        if self.shard.world > 1:
            self.renew()  # DDP is in the middle of a backward pass that failed

    def _parts(self, micro_batches: Sequence[BatchT], step: int) -> Iterator[tuple[int, BatchT]]:
        """What is computed at once, and the seed of its randomness."""
        for i, batch in enumerate(micro_batches):
            number = i * self.shard.world + self.shard.rank
            for j, part in enumerate(self.sizes.parts(batch, step)):
                yield self._seeds[step, number, j], part

    def _spare(self, micro_batches: Sequence[BatchT], step: int) -> BatchT:
        """For a process that has one less than others: it learns nothing, but meets them.

        Where weights are shared out, every pass of one process fetches from all the others.
        """
        batch = micro_batches[0] if micro_batches else self.task.largest_batch()
        return self.sizes.parts(batch, step)[0]

    def _learn_from(self, batch: BatchT, weight: float, *, shares: bool) -> LossSums | None:
        """One forward and one backward pass; None where memory ran out.

        On return the error is gone, and with it the frames that hold tensors.
        """
        try:
            with self.replica.sharing(only_if=shares):
                with autocast(bf16=self.bf16, device=self.device):
                    sums = self.task.loss_sums(self.replica.module, batch.to(self.device))
                sums.loss.backward(torch.full_like(sums.loss, weight))
                return LossSums(sums.loss.detach(), sums.shown)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        return None

    def _stand_in(self, failed: BatchT, step: int) -> None:
        """Answer the others, who go on and do not know yet that memory ran out here."""
        self.gradients.drop()
        release()
        if self.replica.stand_in():
            return
        limit = self.sizes.learn(step, failed.size)
        with suppress(TrainingError):  # another process may be writing it, too
            self.sizes.write()
        raise TrainingError(
            f"step {step + 1}: memory ran out for {failed.size:,} {self.task.unit}, padding "
            "counted, and where weights are shared out processes can't try again: go on with "
            f"--resume, by which what is larger than {limit:,} is divided"
        )


def _indivisible(size: int, where: str = "") -> TrainingError:
    return TrainingError(
        f"{where}memory can't hold a part, of size {size:,}, that can't be divided: leave out "
        "sentences that long, or take smaller images or a smaller model"
    )


def _smallest(batch: BatchT) -> BatchT:
    """A part of a batch that can't be divided: it fits if anything does."""
    while len(halves := batch.halves()) > 1:
        batch = halves[0]
    return batch
