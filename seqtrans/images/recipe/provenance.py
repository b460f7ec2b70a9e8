"""What a run of an image classifier keeps when it goes on, and what its batches depend on."""

import hashlib

from seqtrans.config.trees import flatten, flow
from seqtrans.images.data.dataset import ImageSet
from seqtrans.images.recipe.load_data import ImageSets
from seqtrans.images.recipe.schema import ClassificationRecipe
from seqtrans.training.checkpoints.provenance import DATA, Origins, model_settings

CHOICE = ("data.limit", "data.validation.fraction")
"""Keys that say which of the images are learnt from."""
_HASHED_IMAGES = 1024  # at a time


def origins_of(recipe: ClassificationRecipe, sets: ImageSets) -> Origins:
    """Return what a run of an image classifier depends on."""
    fraction = getattr(recipe.data.validation, "fraction", None)
    return Origins(
        kept={
            DATA: _of_images(sets.train),
            **dict(zip(CHOICE, map(flow, (recipe.data.limit, fraction)), strict=True)),
            **flatten(recipe.data.normalisation, "data.normalisation"),
            **model_settings(recipe.model),
        },
        measured={
            "data.validation": _of_images(sets.validation),
            **flatten(recipe.data.resize, "data.resize"),
        },
        order=order_of(recipe),
    )


def order_of(recipe: ClassificationRecipe) -> dict[str, str]:
    """Return what the micro-batches of an epoch of a run of an image classifier depend on."""
    return {
        "training.seed": flow(recipe.training.seed),
        "data.batch_size": flow(recipe.data.batch_size),
    }


def _of_images(images: ImageSet) -> str:
    digest = hashlib.sha256(repr((images.classes, tuple(images.images.shape))).encode())
    for part in images.images.split(_HASHED_IMAGES):
        digest.update(part.contiguous().numpy().tobytes())
    digest.update(images.labels.numpy().tobytes())
    return digest.hexdigest()
