"""A recipe: the one typed description of a run; and how its parts are put together."""

from seqtrans.recipe.building import build_model, build_task, prepare_segmenters
from seqtrans.recipe.run import Run, load_run
from seqtrans.recipe.settings import (
    DataConfig,
    InitFrom,
    TranslationRecipe,
    ValidationConfig,
    load_recipe,
)

__all__ = [
    "DataConfig",
    "InitFrom",
    "Run",
    "TranslationRecipe",
    "ValidationConfig",
    "build_model",
    "build_task",
    "load_recipe",
    "load_run",
    "prepare_segmenters",
]
