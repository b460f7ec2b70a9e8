"""A recipe: the one typed description of a run; and how its parts are put together."""

from seqtrans.recipe.building import build_model, build_task, prepare_segmenters
from seqtrans.recipe.classification import Classifier, load_classifier
from seqtrans.recipe.images import ClassificationRecipe, ImageDataConfig
from seqtrans.recipe.loading import Recipe, load_recipe, stored_recipe
from seqtrans.recipe.run import Run, load_run
from seqtrans.recipe.settings import DataConfig, InitFrom, TranslationRecipe, ValidationConfig

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
