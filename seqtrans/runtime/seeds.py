"""Random seeds of training steps, as a pure function of the run's seed and a position."""

from typing import Any, TypeVar

import numpy as np
import torch

_MASK = (1 << 64) - 1
_Word = TypeVar("_Word", int, np.ndarray[Any, Any])
_MOST_MICRO_BATCHES = 1 << 20  # in one step
_MOST_STEPS = 1 << 32  # which leaves 12 bits for the parts of a micro-batch


def splitmix64(start: _Word, number: _Word) -> _Word:
    """Return elements of the splitmix64 sequence, 64 bits each, without computing earlier ones.

    (Steele and others 2014, "Fast splittable pseudorandom number generators", figure 17.)

    Args:
        start: Start of the sequence.
        number: Number of the element, from 1. Arrays must be uint64.
    """
    state = (start + number * 0x9E3779B97F4A7C15) & _MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
    return state ^ (state >> 31)


class MicroBatchSeeds:
    """A seed for every part of a micro-batch: a pure function of the run's seed and its position.

    So random numbers do not depend on which process draws them. The seeds are the splitmix64
    sequence, started from the run's seed: no two micro-batches of a run share one.

    Args:
        seed: Seed of the run, not negative.
    """

    def __init__(self, seed: int) -> None:
        self._start = int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0])

    def __getitem__(self, place: tuple[int, int, int]) -> int:
        """Return the 64-bit seed for (step, number of the micro-batch in it, part), all from 0.

        A micro-batch that is not split has only part 0.
        """
        step, number, part = place
        index = (part * _MOST_STEPS + step) * _MOST_MICRO_BATCHES + number
        return splitmix64(self._start, index + 1)


def start_generators(device: torch.device, seed: int) -> None:
    """Seed torch's generators of the CPU and of ``device``.

    ``torch.manual_seed`` seeds the generators of every type of device, which takes 0.1 to 0.6 ms,
    as long as a small layer.
    """
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)
