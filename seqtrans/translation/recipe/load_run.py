"""A run that was trained: its model and all that belongs to it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

from seqtrans import config
from seqtrans.errors import RecipeError
from seqtrans.training.checkpoints.find import find_checkpoint, stored_recipe_of
from seqtrans.training.checkpoints.format import read_inference_weights
from seqtrans.training.checkpoints.run_directory import open_run
from seqtrans.training.checkpoints.weights import fill
from seqtrans.translation.models.encoder_decoder import EncoderDecoder
from seqtrans.translation.recipe.build import build_model
from seqtrans.translation.recipe.schema import TranslationRecipe
from seqtrans.translation.search.config import (
    BeamConfig,
    DecodingConfig,
    SearchConfig,
    ValidationBeamConfig,
    ValidationSearchConfig,
)
from seqtrans.translation.tokenization.segmenters import Segmenters, load_segmenters

Settings = Literal["decoding", "validation"]
"""What in a recipe says how to search: ``decoding``, or ``validation.decoding``."""


@dataclass(frozen=True)
class Run:
    """A model with its weights, ready to translate."""

    recipe: TranslationRecipe
    segmenters: Segmenters
    model: EncoderDecoder  # in evaluation mode, on the CPU
    checkpoint: Path  # where the weights are from

    def decoding(
        self, changes: Mapping[str, object], place: str, settings: Settings = "decoding"
    ) -> SearchConfig:
        """How to search: as the recipe says, but for ``changes``.

        Args:
            changes: Settings of a ``SearchConfig`` by name. Where they name another ``kind`` than
                the recipe, of the recipe's settings only those count that all kinds have.
            place: Where they were given, for the error.
            settings: Where in the recipe it is said how.

        Raises:
            RecipeError: They name what is no setting, have values that can't be, or contradict
                the recipe; one line for each mistake.
        """
        recipe = self.recipe
        stored = {"decoding": recipe.decoding, "validation": recipe.validation.decoding}
        if settings not in stored:
            names = " or ".join(map(repr, stored))
            raise RecipeError(f"{place}: settings must be {names}, not {settings!r}")
        said = vars(stored[settings])
        if changes.get("kind", said["kind"]) != said["kind"]:
            said = {field.name: said[field.name] for field in fields(DecodingConfig)}
        keys: dict[str, object] = {"decoding": {**said, **changes}}
        if settings == "validation":
            keys = {"validation": keys}
        checked = config.validate(_Settings, config.Document(keys, {(): place}))
        found = (checked.validation if settings == "validation" else checked).decoding
        if found.batch_tokens == "auto":
            inside = "validation." if settings == "validation" else ""
            raise RecipeError(
                f"{place}: {inside}decoding.batch_tokens must be a number here: "
                "auto is for training"
            )
        return found


@dataclass(frozen=True, kw_only=True)
class _Validation:
    decoding: ValidationSearchConfig = field(default_factory=ValidationBeamConfig)


@dataclass(frozen=True, kw_only=True)
class _Settings:
    """Lets errors name ``decoding.beam_size`` and its like as in a recipe."""

    decoding: SearchConfig = field(default_factory=BeamConfig)
    validation: _Validation = field(default_factory=_Validation)


def load_run(path: Path, checkpoint: str = "best") -> Run:
    """Load the model of a run directory; nothing outside the directory is read.

    Args:
        path: The run directory.
        checkpoint: ``best``, ``last``, ``averaged`` or a step; where validation has not chosen
            a best one yet, ``best`` is the last.

    Raises:
        CheckpointError: The run, its vocabulary or the checkpoint is missing or damaged, or the run
            is none of translation.
        RecipeError: The run's recipe was altered into something invalid.
    """
    directory = open_run(path)
    recipe = stored_recipe_of(TranslationRecipe, "translation", directory)
    chosen = find_checkpoint(directory, checkpoint)
    weights = read_inference_weights(chosen)
    segmenters = load_segmenters(directory.vocabulary)
    model = build_model(recipe.model, segmenters)
    fill(model, weights, str(chosen))
    return Run(recipe, segmenters, model.eval(), chosen)
