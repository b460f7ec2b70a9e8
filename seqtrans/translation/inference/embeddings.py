"""Words as vectors: the embeddings of a model, compared by the cosine."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from torch import nn

from seqtrans.errors import DataError
from seqtrans.translation.models.encoder_decoder import EncoderDecoder
from seqtrans.translation.protocols import Segmenter
from seqtrans.translation.tokenization.segmenters import Segmenters

Side = Literal["source", "target"]


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Embeddings of the tokens of one side.

    Attributes:
        segmenter: Of that side.
        vectors: One of length 1 for each token.
    """

    segmenter: Segmenter
    vectors: Float[np.ndarray, "V E"]

    def ids(self, word: str) -> list[int]:
        """Return the tokens of a word.

        Raises:
            DataError: It has none, or an unknown one.
        """
        (ids,) = self.segmenter.encode([word])
        if not ids or self.segmenter.specials.unk in ids:
            raise DataError(f"{word!r} is not in the vocabulary")
        return ids

    def vector(self, word: str) -> Float[np.ndarray, " E"]:
        """Return the mean vector of the tokens of a word, with length 1; see ``ids``."""
        return _unit(self.vectors[self.ids(word)].mean(0))

    def nearest(self, word: str, count: int) -> list[tuple[str, float]]:
        """Return the tokens with the highest cosine to a word, and the cosine, best first.

        Special tokens and those of the word are left out. For errors see ``ids``.
        """
        return self._nearest(self.vector(word), count, self.ids(word))

    def analogy(self, a: str, b: str, c: str, count: int) -> list[tuple[str, float]]:
        """Return what is to ``c`` as ``b`` is to ``a``: nearest to b - a + c; see ``nearest``."""
        vector = _unit(self.vector(b) - self.vector(a) + self.vector(c))
        return self._nearest(vector, count, [i for word in (a, b, c) for i in self.ids(word)])

    def plane(self, words: Sequence[str]) -> Float[np.ndarray, "N 2"]:
        """Return the two principal components of words, at least 3; for errors see ``ids``."""
        vectors = np.stack([self.vector(word) for word in words])
        centered = vectors - vectors.mean(0)
        _, _, directions = np.linalg.svd(centered, full_matrices=False)
        return centered @ directions[:2].T

    def _nearest(
        self, vector: Float[np.ndarray, " E"], count: int, without: Collection[int]
    ) -> list[tuple[str, float]]:
        cosine = self.vectors @ vector
        cosine[[*self.segmenter.specials, *without]] = -np.inf
        best = np.argsort(-cosine, kind="stable")[:count]
        pieces = self.segmenter.pieces
        numbers: list[int] = best.tolist()
        return [(pieces[i], float(cosine[i])) for i in numbers if np.isfinite(cosine[i])]


def embeddings_of(model: EncoderDecoder, segmenters: Segmenters, side: Side) -> Embeddings:
    """Return the embeddings that the encoder (``source``) or the decoder reads."""
    table: nn.Embedding = getattr(model, f"{side}_embedding")
    weight = table.weight.detach().double().cpu().numpy()
    return Embeddings(getattr(segmenters, side), _unit(weight))


def _unit(vectors: Float[np.ndarray, "*N E"]) -> Float[np.ndarray, "*N E"]:
    """Divide vectors by their lengths; a vector of zeros stays."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(length > 0, length, 1.0)
