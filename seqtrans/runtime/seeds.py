"""Random numbers that are a pure function of a seed and a place."""

from typing import Any, TypeVar

import numpy as np
import torch

_MASK = (1 << 64) - 1
_Word = TypeVar("_Word", int, np.ndarray[Any, Any])
_MOST_MICRO_BATCHES = 1 << 20  # of one step
_MOST_STEPS = 1 << 32  # there is room for 2 ** 12 parts of a micro-batch


def splitmix64(start: _Word, number: _Word) -> _Word:
    """Return elements of the splitmix64 sequence, of 64 bits, without computing those before.

    (Steele and others 2014, "Fast splittable pseudorandom number generators", figure 17.)

    Args:
        start: Of the sequence.
        number: Which element, from 1. Arrays are of 64 bits without a sign.
    """
    state = (start + number * 0x9E3779B97F4A7C15) & _MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
    return state ^ (state >> 31)


class MicroBatchSeeds:
    """A seed for every part of a micro-batch, a pure function of the run's seed and its place.

    So what is drawn does not depend on which process draws it. They are the splitmix64 sequence
    from a start of the run's own: no two micro-batches of a run share one.

    Args:
        seed: Seed of the run, not negative.
    """

    def __init__(self, seed: int) -> None:
        self._start = int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0])

    def __getitem__(self, place: tuple[int, int, int]) -> int:
        """The seed, 64 bits, by step, the micro-batch's number in it, and part; all from 0.

        A micro-batch that is not divided is its own part 0.
        """
        step, number, part = place
        index = (part * _MOST_STEPS + step) * _MOST_MICRO_BATCHES + number
        return splitmix64(self._start, index + 1)


def start_generators(device: torch.device, seed: int) -> None:
    """Let all that is drawn from here on, on the processor and on ``device``, follow ``seed``.

    ``torch.manual_seed`` starts the generators of every kind of device there might be, which
    takes 0.1 to 0.6 ms: as long as a small layer.
    """
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)
