"""Where the randomness of a step comes from."""

import numpy as np
import torch

_MASK = (1 << 64) - 1


class StepSeeds:
    """A seed for every step, a pure function of seed, step and rank.

    They are the splitmix64 sequence (Steele and others 2014, "Fast splittable pseudorandom number
    generators", figure 17) from a start of the run's own: no two steps of a run share one.

    Args:
        seed: Seed of the run, not negative.
        rank: Number of the process.
    """

    def __init__(self, seed: int, rank: int) -> None:
        self._start = int(np.random.SeedSequence((seed, rank)).generate_state(1, np.uint64)[0])

    def __getitem__(self, step: int) -> int:
        """The seed of a step, from 0; 64 bits."""
        state = (self._start + (step + 1) * 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        return state ^ (state >> 31)


def start_generators(device: torch.device, seed: int) -> None:
    """Let all that is drawn from here on, on the processor and on ``device``, follow ``seed``.

    ``torch.manual_seed`` starts the generators of every kind of device there might be, which
    takes 0.1 to 0.6 ms: as long as a small layer.
    """
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)
