"""Initialize a translation run from the vocabulary and weights of another run."""

import torch

from seqtrans.runtime.files.atomic_files import write_atomically
from seqtrans.training.checkpoints.find import find_checkpoint
from seqtrans.training.checkpoints.format import read_inference_weights
from seqtrans.training.checkpoints.run_directory import RunDirectory, open_run
from seqtrans.training.checkpoints.weights import RowMap, carry_over, fill, named_weights
from seqtrans.translation.models.adaptation import is_adaptation
from seqtrans.translation.models.encoder_decoder import EncoderDecoder
from seqtrans.translation.protocols import Segmenter
from seqtrans.translation.recipe.schema import InitFrom
from seqtrans.translation.tokenization.segmenters import Segmenters, load_segmenters


def copy_vocabulary(origin: InitFrom, run: RunDirectory) -> None:
    """Copy the vocabulary of another run into ``run``.

    Raises:
        CheckpointError: There is no such run, or its vocabulary is damaged.
    """
    folder = open_run(origin.run).vocabulary
    load_segmenters(folder)  # finds damage
    # The index comes last: it makes the vocabulary complete.
    for file in sorted(folder.iterdir(), key=lambda file: file.suffix == ".yaml"):
        write_atomically(run.vocabulary / file.name, file.read_bytes())


def start_from(origin: InitFrom, model: EncoderDecoder, segmenters: Segmenters) -> str:
    """Copy the weights of another run into a model.

    Args:
        origin: The other run. With a new vocabulary, only the embeddings of tokens in both
            vocabularies are copied.
        model: A new model.
        segmenters: The segmenters of ``model``.

    Returns:
        A message for the log.

    Raises:
        CheckpointError: There is no such checkpoint, or the models differ in more than the
            vocabulary.
    """
    run = open_run(origin.run)
    checkpoint = find_checkpoint(run, str(origin.checkpoint))
    weights = read_inference_weights(checkpoint)
    fresh = {name: x for name, x in named_weights(model).items() if is_adaptation(name)}
    if not fresh.keys() & weights.keys():  # the other run was not adapted
        weights = {**weights, **{name: x.clone() for name, x in fresh.items()}}
    if origin.vocabulary == "keep":
        fill(model, weights, str(checkpoint))
        return f"starting from the weights of {checkpoint}"
    stored = load_segmenters(run.vocabulary)
    source, target = map(shared_rows, stored, segmenters)
    by_tensor = {
        "source_embedding.weight": source,
        "target_embedding.weight": target,
        "output.weight": target,
        "output.bias": target,
    }
    rows = {name: by_tensor[name] for name in named_weights(model) if name in by_tensor}
    carry_over(model, weights, rows, str(checkpoint))
    return (
        f"starting from the weights of {checkpoint}; embeddings of {len(source.new):,} of "
        f"{len(segmenters.source.pieces):,} source tokens and {len(target.new):,} of "
        f"{len(segmenters.target.pieces):,} target tokens"
    )


def shared_rows(stored: Segmenter, new: Segmenter) -> RowMap:
    """Return the ids of tokens in both vocabularies; special tokens correspond by role."""
    special = dict(zip(new.specials, stored.specials, strict=True))
    known = {piece: i for i, piece in enumerate(stored.pieces) if i not in stored.specials}
    pairs = [
        (special[i] if i in special else known[piece], i)
        for i, piece in enumerate(new.pieces)
        if i in special or piece in known
    ]
    old_ids, new_ids = zip(*pairs, strict=True)
    return RowMap(torch.tensor(old_ids), torch.tensor(new_ids))
