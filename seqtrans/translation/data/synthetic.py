"""Synthetic sentence pairs, for first recipes, tests and benchmarks."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
from jaxtyping import Int

Rule = Literal["copy", "reverse", "sort"]

_BLOCK = 4096


def synthetic_pairs(
    rule: Rule,
    num_pairs: int,
    *,
    seed: int = 0,
    min_tokens: int = 1,
    max_tokens: int = 10,
    num_symbols: int = 10,
    mean_tokens: float | None = None,
) -> Iterator[tuple[str, str]]:
    """Yield numbers separated by spaces, and the same numbers copied, reversed or sorted.

    A pure function of its arguments; the first pairs do not depend on ``num_pairs``.

    Args:
        rule: How the target is made from the source.
        num_pairs: Number of pairs.
        seed: Seed of the random numbers.
        min_tokens: Fewest numbers of a sentence.
        max_tokens: Most numbers of a sentence.
        num_symbols: Numbers are 0 to ``num_symbols - 1``.
        mean_tokens: Mean length, distributed as in natural text; if None, all lengths are equally
            frequent.
    """
    generator = np.random.default_rng(seed)
    for first in range(0, num_pairs, _BLOCK):
        lengths = _lengths(generator, min_tokens, max_tokens, mean_tokens)
        symbols = generator.integers(num_symbols, size=int(lengths.sum()))
        sentences = np.split(symbols, np.cumsum(lengths)[:-1])
        for sentence in sentences[: num_pairs - first]:
            yield _spell(sentence), _spell(_apply(rule, sentence))


def _lengths(
    generator: np.random.Generator, min_tokens: int, max_tokens: int, mean_tokens: float | None
) -> Int[np.ndarray, " N"]:
    if mean_tokens is None:
        return generator.integers(min_tokens, max_tokens + 1, size=_BLOCK)
    spread = generator.gamma(2.6, mean_tokens / 2.6, size=_BLOCK)
    return spread.astype(np.int64).clip(min_tokens, max_tokens)


def _apply(rule: Rule, sentence: Int[np.ndarray, " T"]) -> Int[np.ndarray, " T"]:
    match rule:
        case "copy":
            return sentence
        case "reverse":
            return sentence[::-1]
        case "sort":
            return np.sort(sentence)


def _spell(sentence: Int[np.ndarray, " T"]) -> str:
    return " ".join(map(str, sentence.tolist()))
