"""Generated sentence pairs, for a first training without any file."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from seqtrans.config.types import NonNegative, Positive
from seqtrans.translation.data.formats.base import CorpusFiles
from seqtrans.translation.data.synthetic import Rule, synthetic_pairs


@dataclass(frozen=True, kw_only=True)
class GeneratedPairs(CorpusFiles):
    """Random numbers, and the same numbers copied, reversed or sorted."""

    kind: Literal["generated"] = "generated"
    task: Rule
    """How the target is made from the source: copy, reverse or sort."""
    num_pairs: Positive
    """Number of pairs."""
    seed: NonNegative = 0
    """Seed of the numbers; give training and validation different ones."""
    min_tokens: Positive = 1
    """Fewest numbers of a sentence."""
    max_tokens: Positive = 10
    """Most numbers of a sentence; all lengths are equally frequent."""
    num_symbols: Positive = 10
    """Numbers are 0 to ``num_symbols - 1``."""

    def __post_init__(self) -> None:
        """Refuse an empty range of lengths."""
        if self.min_tokens > self.max_tokens:
            raise ValueError(f"min_tokens {self.min_tokens} exceeds max_tokens {self.max_tokens}")

    @property
    def names(self) -> tuple[str, ...]:
        """See ``CorpusFiles.names``."""
        return (f"generated pairs ({self.task})",)

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Generate the pairs."""
        return synthetic_pairs(
            self.task,
            self.num_pairs,
            seed=self.seed,
            min_tokens=self.min_tokens,
            max_tokens=self.max_tokens,
            num_symbols=self.num_symbols,
        )
