"""Start a translation run from the vocabulary and the weights of another one."""

import torch

from seqtrans.runtime.files.atomic_files import write_atomically
from seqtrans.training.checkpoints.find import find_checkpoint
from seqtrans.training.checkpoints.format import read_inference_weights
from seqtrans.training.checkpoints.run_directory import RunDirectory, open_run
from seqtrans.training.checkpoints.weights import RowMap, carry_over, fill, named_weights
from seqtrans.translation.models.encoder_decoder import EncoderDecoder
from seqtrans.translation.protocols import Segmenter
from seqtrans.translation.recipe.schema import InitFrom
from seqtrans.translation.tokenization.segmenters import Segmenters, load_segmenters


def copy_vocabulary(origin: InitFrom, run: RunDirectory) -> None:
    """Give ``run`` the vocabulary of the run it starts from.

    Raises:
        CheckpointError: There is no such run, or its vocabulary is damaged.
    """
    folder = open_run(origin.run).vocabulary
    load_segmenters(folder)  # finds damage
    # The index that makes a vocabulary complete comes last.
    for file in sorted(folder.iterdir(), key=lambda file: file.suffix == ".yaml"):
        write_atomically(run.vocabulary / file.name, file.read_bytes())


def start_from(origin: InitFrom, model: EncoderDecoder, segmenters: Segmenters) -> str:
    """Fill a fresh model with the weights of another run.

    Args:
        origin: The other run. Where its vocabulary was not kept, tokens that both vocabularies
            have take their vectors along; the others keep fresh ones.
        model: What to fill.
        segmenters: Those of ``model``.

    Returns:
        What was done, in words.

    Raises:
        CheckpointError: There is no such checkpoint, or the models differ in more than the
            vocabulary.
    """
    run = open_run(origin.run)
    checkpoint = find_checkpoint(run, str(origin.checkpoint))
    weights = read_inference_weights(checkpoint)
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
        f"starting from the weights of {checkpoint}; of {len(segmenters.source.pieces):,} source "
        f"and {len(segmenters.target.pieces):,} target tokens, {len(source.new):,} and "
        f"{len(target.new):,} bring their vectors along"
    )


def shared_rows(stored: Segmenter, new: Segmenter) -> RowMap:
    """Return ids of the tokens that two vocabularies share; special ones match by their role."""
    special = dict(zip(new.specials, stored.specials, strict=True))
    known = {piece: i for i, piece in enumerate(stored.pieces) if i not in stored.specials}
    pairs = [
        (special[i] if i in special else known[piece], i)
        for i, piece in enumerate(new.pieces)
        if i in special or piece in known
    ]
    old_ids, new_ids = zip(*pairs, strict=True)
    return RowMap(torch.tensor(old_ids), torch.tensor(new_ids))
