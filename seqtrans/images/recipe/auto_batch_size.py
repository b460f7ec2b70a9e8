"""The size of batches that a recipe of images leaves to us: measured before training."""

from dataclasses import replace

from torch import nn

from seqtrans.images.recipe.build import build_classification
from seqtrans.images.recipe.load_data import ImageSets
from seqtrans.images.recipe.schema import ClassificationRecipe
from seqtrans.protocols import ProcessGroup
from seqtrans.training.auto_batch_size import SizeRange, agreed_size, largest_training

IMAGES = SizeRange(least=32, most_on_cpu=128, most_on_gpu=1024)


def resolve_sizes(
    recipe: ClassificationRecipe, sets: ImageSets, model: nn.Module, group: ProcessGroup
) -> ClassificationRecipe:
    """Return the recipe with a number where it says ``auto``; every process must call it."""
    if recipe.data.batch_size != "auto":
        return recipe

    def sized(images: int) -> ClassificationRecipe:
        return replace(recipe, data=replace(recipe.data, batch_size=images))

    size = largest_training(
        lambda images: build_classification(sized(images), sets, model, group.world_size),
        model,
        recipe.training,
        sizes=IMAGES,
        epoch=len(sets.train) // recipe.training.micro_batches(group.world_size),
    )
    return sized(agreed_size("data.batch_size", size, group))
