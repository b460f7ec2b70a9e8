"""A recipe: the one typed description of a run; and how its parts are put together."""

from seqtrans.images.recipe.build import Classifier, load_classifier
from seqtrans.images.recipe.schema import ClassificationRecipe, ImageDataConfig
from seqtrans.recipe.load import Recipe, load_recipe, stored_recipe
from seqtrans.translation.recipe.build import build_model, build_task, prepare_segmenters
from seqtrans.translation.recipe.load_run import Run, load_run
from seqtrans.translation.recipe.schema import (
    DataConfig,
    InitFrom,
    TranslationRecipe,
    ValidationConfig,
)

__all__ = [
    "ClassificationRecipe",
    "Classifier",
    "DataConfig",
    "ImageDataConfig",
    "InitFrom",
    "Recipe",
    "Run",
    "TranslationRecipe",
    "ValidationConfig",
    "build_model",
    "build_task",
    "load_classifier",
    "load_recipe",
    "load_run",
    "prepare_segmenters",
    "stored_recipe",
]
