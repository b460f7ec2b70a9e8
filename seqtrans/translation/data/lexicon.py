"""A lexicon: the likeliest translations of each source token, made from a training corpus."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int
from safetensors import SafetensorError
from safetensors.numpy import load, save

from seqtrans.errors import CheckpointError
from seqtrans.runtime.files.atomic_files import write_atomically
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
