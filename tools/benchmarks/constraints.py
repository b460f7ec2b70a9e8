"""What required phrases cost, on one run, one core and one text.

    python tools/benchmarks/constraints.py RUN test.en --lines 100

The phrases of a line are single tokens, evenly spread over the plain translation of the line before
it, or (``--own``) over its own plain translation. Both
searches translate the whole text in every round, in turn; the first round does not count. The time
is that of the search alone, from token ids to token ids, on the CPU.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from seqtrans.translation.protocols import Hypothesis, SearchInput
from seqtrans.translation.recipe.load_run import load_run


def main() -> None:
    """Measure and print a line."""
    parser = argparse.ArgumentParser(description="Speed of required phrases.")
    parser.add_argument("run", type=Path)
    parser.add_argument("source", type=Path)
    parser.add_argument("--lines", type=int, default=100)
    parser.add_argument("--phrases", type=int, default=3, help="of each line")
    parser.add_argument("--own", action="store_true", help="tokens of the line's own translation")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    lines = arguments.source.read_text(encoding="utf-8").splitlines()[: arguments.lines]
    run = load_run(arguments.run)
    config = run.decoding({}, "the benchmark")
    translator = run.translator(config, "cpu")
    plain = translator.parts.cut(lines).inputs
    found = translator.hypotheses(plain)
    given = found if arguments.own else [found[-1], *found[:-1]]
    wishes = with_phrases(plain, given, arguments.phrases)
    seconds: dict[str, list[float]] = {"plain": [], "phrases": []}
    for _ in range(arguments.rounds + 1):
        for name, inputs in (("plain", plain), ("phrases", wishes)):
            started = time.perf_counter()
            found = translator.hypotheses(inputs)
            seconds[name].append(time.perf_counter() - started)
    missing = sum(len(one.unmet(h[0].tokens)) for one, h in zip(wishes, found, strict=True))
    plain_time, phrase_time = (statistics.median(times[1:]) for times in seconds.values())
    print(
        f"{len(plain)} lines: plain {plain_time:.2f} s, {arguments.phrases} phrases "
        f"{phrase_time:.2f} s, {phrase_time / plain_time:.2f} times; {missing} phrases not met"
    )


def with_phrases(
    inputs: Sequence[SearchInput], found: Sequence[Sequence[Hypothesis]], count: int
) -> list[SearchInput]:
    """Return the inputs with phrases of one token, spread evenly over these translations."""
    wishes: list[SearchInput] = []
    for one, hypotheses in zip(inputs, found, strict=True):
        tokens = hypotheses[0].tokens
        spread = [tokens[len(tokens) * n // count] for n in range(count) if tokens]
        wishes.append(replace(one, constraints=tuple((token,) for token in spread)))
    return wishes


if __name__ == "__main__":
    main()
