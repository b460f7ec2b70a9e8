"""A lexicon: the likeliest translations of each source token, made from a training corpus."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int
from safetensors import SafetensorError
from safetensors.numpy import load, save

from seqtrans.errors import CheckpointError
from seqtrans.runtime.files.atomic_files import write_atomically
from seqtrans.translation.data.encoded_corpus import EncodedCorpus
from seqtrans.translation.data.ibm_model_1 import TranslationTable
from seqtrans.translation.tokenization.segmenters import Segmenters

FILE = "lexicon.safetensors"
"""Name of the file, in the folder of a run's vocabulary."""


@dataclass(frozen=True, eq=False)
class Lexicon:
    """Target tokens that are likely in a translation.

    Attributes:
        likely: The likeliest target tokens of each source token, best first; -1 after the last.
        frequent: The most frequent target tokens of the corpus, most frequent first.
    """

    likely: Int[np.ndarray, "S N"]
    frequent: Int[np.ndarray, " F"]

    @property
    def size(self) -> int:
        """The most translations that a source token can have."""
        return self.likely.shape[1]


def build_lexicon(
    table: TranslationTable, corpus: EncodedCorpus, segmenters: Segmenters, size: int
) -> Lexicon:
    """Keep the ``size`` likeliest entries of every source token, and as many frequent tokens."""
    order = np.lexsort((-table.probability, table.source))
    source, target = table.source[order], table.target[order]
    first = np.searchsorted(source, source)  # place of a source token's first entry
    rank = np.arange(len(source)) - first
    kept = rank < size
    likely = np.full((len(segmenters.source.pieces), size), -1, np.int32)
    likely[source[kept], rank[kept]] = target[kept]
    counts = corpus.target.counts(len(segmenters.target.pieces))
    frequent = np.argsort(-counts, kind="stable")[: min(size, np.count_nonzero(counts))]
    return Lexicon(likely, frequent.astype(np.int32))


def save_lexicon(lexicon: Lexicon, folder: Path) -> None:
    """Write a lexicon beside the vocabulary that it belongs to."""
    write_atomically(folder / FILE, save(vars(lexicon)))


def load_lexicon(folder: Path, segmenters: Segmenters) -> Lexicon:
    """Read the lexicon of a vocabulary.

    Raises:
        CheckpointError: There is none, it can't be read, or it belongs to another vocabulary.
    """
    path = folder / FILE
    try:
        content = load(path.read_bytes())
        lexicon = Lexicon(content["likely"], content["frequent"])
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path}: no such file: shortlist needs a lexicon; seqtrans lexicon RUN makes it"
        ) from error
    except OSError as error:
        raise CheckpointError(f"{path}: can't be read: {error.strerror or error}") from error
    except (SafetensorError, KeyError) as error:
        raise CheckpointError(f"{path}: damaged; seqtrans lexicon RUN makes it anew") from error
    sizes = len(segmenters.source.pieces), len(segmenters.target.pieces)
    if len(lexicon.likely) != sizes[0] or lexicon.likely.max(initial=0) >= sizes[1]:
        raise CheckpointError(
            f"{path}: belongs to another vocabulary; seqtrans lexicon RUN makes it anew"
        )
    return lexicon


def coverage(corpus: EncodedCorpus, lexicon: Lexicon, size: int) -> float:
    """Return the proportion of a corpus's target tokens that are in shortlists of ``size``."""
    frequent, found, total = lexicon.frequent[:size], 0, 0
    for i in range(len(corpus)):
        allowed = np.append(lexicon.likely[corpus.source[i], :size], frequent)
        found += int(np.isin(corpus.target[i], allowed).sum())
        total += len(corpus.target[i])
    return found / max(1, total)
