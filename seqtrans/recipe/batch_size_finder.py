"""What ``auto`` means for the size of a batch: the largest that fits, up to a bound.

The bound is 4,096 tokens or 128 images on a CPU, where larger batches are hardly faster, and
32,768 tokens or 1,024 images on a GPU; in training also a hundredth of an epoch, so that an epoch
has at least a hundred updates, but not less than 256 tokens or 32 images.
"""

from collections.abc import Callable, Sequence
from itertools import cycle, islice

import torch
from torch import nn

from seqtrans.protocols import BatchT, Task
from seqtrans.runtime.memory_limits import largest_that_fits
from seqtrans.runtime.oom_split import attempt
from seqtrans.runtime.out_of_memory import release
from seqtrans.training.config import TrainingConfig
from seqtrans.training.preflight import batch_fits, reserved_memory
from seqtrans.translation.data.batch import collate_sources
from seqtrans.translation.protocols import Searcher, Seq2SeqModel, Specials, StateT

TOKENS, IMAGES = 256, 32
"""The least that ``auto`` chooses."""
_MOST = {TOKENS: (4096, 32768), IMAGES: (128, 1024)}
_UPDATES = 100  # in an epoch, at least


def largest_training(
    make: Callable[[int], Task[BatchT]],
    model: nn.Module,
    config: TrainingConfig,
    *,
    smallest: int,
    epoch: int,
) -> int:
    """The largest size of the micro-batches of training; nothing is learnt.

    Args:
        make: The task with batches of a size.
        model: What will learn, where it will.
        config: How.
        smallest: ``TOKENS`` or ``IMAGES``.
        epoch: How many of these there are to learn from.
    """
    device = next(model.parameters()).device
    most = min(_most(smallest, device), epoch // _UPDATES)
    reserved = reserved_memory(model, config)

    def fits(size: int) -> bool:
        return batch_fits(make(size), model, config, reserved)

    return largest_that_fits(fits, smallest, max(smallest, most), device, reserved)


def largest_search(
    search: Searcher,
    model: nn.Module,
    specials: Specials,
    lengths: Sequence[int],
    most: int | None = None,
    others_fit: Callable[[int], bool] = lambda _: True,
    reserved: int = 0,
) -> int:
    """The most source tokens that can be searched at once.

    Args:
        search: How.
        model: In evaluation mode.
        specials: Special ids of the source vocabulary.
        lengths: Of sources, without EOS: batches are tried of sources as long as each.
        most: A bound, where there are no more sources than that.
        others_fit: Whether what else is computed of so many tokens fits into memory.
        reserved: Bytes that will be needed besides.
    """
    if not isinstance(model, Seq2SeqModel):
        raise TypeError(f"{type(model).__name__} can't be decoded: it is no Seq2SeqModel")
    device = next(model.parameters()).device
    ids = [i for i in range(max(specials) + 2) if i not in specials]

    def fits(size: int) -> bool:
        ballast = attempt(
            lambda size: torch.empty(size, dtype=torch.uint8, device=device), reserved
        )
        searched = (_search_fits(search, model, specials, ids, n, size, device) for n in lengths)
        return ballast is not None and all(searched) and others_fit(size)

    bound = min(_most(TOKENS, device), most or 1 << 30)
    return largest_that_fits(fits, TOKENS, max(TOKENS, bound), device, reserved)


def _search_fits(
    search: Searcher,
    model: Seq2SeqModel[StateT],
    specials: Specials,
    ids: Sequence[int],
    length: int,
    size: int,
    device: torch.device,
) -> bool:
    sentence = list(islice(cycle(ids), length))
    source, mask = collate_sources([sentence] * max(1, size // (length + 1)), specials)
    if attempt(lambda rows: search(model, rows.to(device), mask.to(device)), source) is not None:
        return True
    release()
    return False


def _most(smallest: int, device: torch.device) -> int:
    on_cpu, on_gpu = _MOST[smallest]
    return on_cpu if device.type == "cpu" else on_gpu
