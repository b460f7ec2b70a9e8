"""Start the embeddings of a new model from vectors in a file."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from seqtrans.errors import DataError
from seqtrans.runtime.files.text_files import open_lines
from seqtrans.tensor_types import Float, Int, Tensor
from seqtrans.translation.models.encoder_decoder import EncoderDecoder
from seqtrans.translation.protocols import Segmenter
from seqtrans.translation.recipe.schema import PretrainedEmbeddings
from seqtrans.translation.tokenization.segmenters import Segmenters

Vectors = tuple[Int[Tensor, " N"], Float[Tensor, "N E"]]
"""Ids of tokens, and a vector for each."""


def use_pretrained(
    config: PretrainedEmbeddings, model: EncoderDecoder, segmenters: Segmenters
) -> list[str]:
    """Copy vectors into the embeddings of a model; tokens without one keep theirs.

    Vectors are scaled alike, to a mean length of 1, which is that of random embeddings.

    Returns:
        A message for the log for each file.

    Raises:
        DataError: A file can't be read, has vectors of another size, or none of any token.
    """
    sides = (
        ("source", config.source, segmenters.source, model.source_embedding),
        ("target", config.target, segmenters.target, model.target_embedding),
    )
    return [
        f"{side} embeddings: {_copy(path, segmenter, table):,} of {len(segmenter.pieces):,} tokens "
        f"from {path}"
        for side, path, segmenter, table in sides
        if path is not None
    ]


def _copy(path: Path, segmenter: Segmenter, table: nn.Embedding) -> int:
    """Copy the vectors of a file into a table; return how many."""
    read = _read_array if path.suffix == ".npy" else _read_text
    ids, vectors = read(path, segmenter, table.embedding_dim)
    if not vectors.any():
        raise DataError(f"{path}: has no vector of any of the {len(segmenter.pieces)} tokens")
    with torch.no_grad():
        table.weight[ids] = (vectors / vectors.norm(dim=1).mean()).to(table.weight)
    return len(ids)


def _read_array(path: Path, segmenter: Segmenter, dim: int) -> Vectors:
    """Read a vector for each token, in the order of the vocabulary."""
    try:
        array = np.load(path, allow_pickle=False)  # pickled objects could run code
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: is no .npy file of numbers: {error}") from error
    expected = (len(segmenter.pieces), dim)
    is_numeric = isinstance(array, np.ndarray) and np.issubdtype(array.dtype, np.floating)
    if not is_numeric or array.shape != expected:
        raise DataError(
            f"{path}: must have floating-point numbers in {expected[0]} rows, one for each token "
            f"of the vocabulary, and {dim} columns, the size of the model's embedding"
        )
    vectors = torch.from_numpy(array.astype(np.float32))
    if not vectors.isfinite().all():
        raise DataError(f"{path}: has infinite numbers or NaN")
    return torch.arange(len(vectors)), vectors


def _read_text(path: Path, segmenter: Segmenter, dim: int) -> Vectors:
    """Read lines of a word and its vector; of a word that occurs twice, the first counts.

    A token that begins a word, ``▁word``, has the vector of ``word`` unless it has its own.
    """
    pieces = {piece: i for i, piece in enumerate(segmenter.pieces) if i not in segmenter.specials}
    exact, loose = dict[int, Tensor](), dict[int, Tensor]()
    for number, line in enumerate(open_lines(path), start=1):
        word, *numbers = line.rstrip(" ").split(" ")
        if number == 1 and len(numbers) == 1:  # a header: how many words, and their size
            continue
        for found, piece in ((exact, word), (loose, f"\u2581{word}")):
            if piece in pieces and pieces[piece] not in found:
                found[pieces[piece]] = _vector(numbers, dim, f"{path}:{number}")
    rows = loose | exact
    vectors = torch.stack([*rows.values()]) if rows else torch.empty(0, dim)
    return torch.tensor([*rows], dtype=torch.long), vectors


def _vector(numbers: list[str], dim: int, place: str) -> Float[Tensor, " E"]:
    try:
        vector = torch.tensor([float(number) for number in numbers])
    except ValueError as error:
        raise DataError(f"{place}: a word must be followed by numbers: {error}") from error
    if len(vector) != dim:
        raise DataError(
            f"{place}: has {len(vector)} numbers, but the model's embedding has {dim} features; "
            "use vectors of that size, or give the model another embedding_dim or model_dim"
        )
    if not vector.isfinite().all():
        raise DataError(f"{place}: has an infinite number or NaN")
    return vector
