"""Sizes of batches that a recipe leaves to us: measured before training, stored as numbers."""

import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import nn

from seqtrans import config
from seqtrans.errors import TrainingError
from seqtrans.images.recipe.build import build_classification
from seqtrans.images.recipe.load_data import ImageSets
from seqtrans.images.recipe.schema import ClassificationRecipe
from seqtrans.protocols import ProcessGroup
from seqtrans.recipe.batch_size_finder import IMAGES, TOKENS, largest_search, largest_training
from seqtrans.runtime.files.atomic_files import write_atomically
from seqtrans.training.checkpoints.run_directory import RunDirectory
from seqtrans.training.preflight import reserved_memory
from seqtrans.translation.recipe.build import build_task
from seqtrans.translation.recipe.load_data import Corpora
from seqtrans.translation.recipe.schema import TranslationRecipe
from seqtrans.translation.search.beam import build_search
from seqtrans.translation.search.config import DecodingConfig
from seqtrans.translation.tokenization.segmenters import Segmenters

T = TypeVar("T")
logger = logging.getLogger(__name__)
SIZES = ("batch_tokens", "batch_size")


def resolve_translation_sizes(
    recipe: TranslationRecipe,
    segmenters: Segmenters,
    corpora: Corpora,
    model: nn.Module,
    group: ProcessGroup,
) -> TranslationRecipe:
    """The recipe with numbers where it says ``auto``; every process must call it.

    Args:
        recipe: What is to be done.
        segmenters: Of the run.
        corpora: Of the run.
        model: What will learn, where it will.
        group: This process: the least of what each finds counts.
    """
    lengths, validation = corpora.validation.source_lengths, recipe.validation
    typical, longest = int(np.median(lengths)), int(lengths.max())
    if validation.decoding.batch_tokens == "auto":
        every = int((lengths + 1).sum())
        size = _search(
            validation.decoding,
            segmenters,
            model,
            (longest, typical),
            every,
            lambda tokens: _losses_fit(recipe, segmenters, corpora, model, tokens),
            reserved_memory(model, recipe.training),
        )
        tokens = _agreed("validation.decoding.batch_tokens", size, group)
        decoding = replace(validation.decoding, batch_tokens=tokens)
        recipe = replace(recipe, validation=replace(validation, decoding=decoding))
    if recipe.decoding.batch_tokens == "auto":
        both = recipe.decoding.max_source_tokens, typical
        size = _search(recipe.decoding, segmenters, model, both, None)
        tokens = _agreed("decoding.batch_tokens", size, group)
        recipe = replace(recipe, decoding=replace(recipe.decoding, batch_tokens=tokens))
    if recipe.data.batch_tokens != "auto":
        return recipe

    def sized(tokens: int) -> TranslationRecipe:
        return replace(recipe, data=replace(recipe.data, batch_tokens=tokens))

    sides = corpora.train.source_lengths, corpora.train.target_lengths
    size = largest_training(
        lambda tokens: build_task(sized(tokens), segmenters, corpora, group.world_size),
        model,
        recipe.training,
        smallest=TOKENS,
        epoch=_each(recipe, group, max(int((side + 1).sum()) for side in sides)),
    )
    return sized(_agreed("data.batch_tokens", size, group))


def resolve_classification_sizes(
    recipe: ClassificationRecipe, sets: ImageSets, model: nn.Module, group: ProcessGroup
) -> ClassificationRecipe:
    """See ``resolve_translation_sizes``."""
    if recipe.data.batch_size != "auto":
        return recipe

    def sized(images: int) -> ClassificationRecipe:
        return replace(recipe, data=replace(recipe.data, batch_size=images))

    size = largest_training(
        lambda images: build_classification(sized(images), sets, model, group.world_size),
        model,
        recipe.training,
        smallest=IMAGES,
        epoch=_each(recipe, group, len(sets.train)),
    )
    return sized(_agreed("data.batch_size", size, group))


def store_resolved(run: RunDirectory, recipe: object) -> None:
    """Keep the numbers, so that a run that goes on, and one that is repeated, is the same.

    Raises:
        TrainingError: The run directory can't be written.
    """
    try:
        write_atomically(run.recipe, config.dump(recipe))
    except OSError as error:
        raise TrainingError(f"{run.recipe} can't be written: {error.strerror or error}") from error


def with_resolved_sizes_of(recipe: T, stored: T) -> T:
    """The same recipe, its ``auto`` sizes those of ``stored``, a recipe of the same kind."""
    if type(recipe) is not type(stored) or not dataclasses.is_dataclass(recipe):
        return recipe
    parts: dict[str, Any] = {}
    for field in filter(lambda field: field.init, dataclasses.fields(recipe)):
        own, other = getattr(recipe, field.name), getattr(stored, field.name)
        is_open = field.name in SIZES and own == "auto"
        parts[field.name] = other if is_open else with_resolved_sizes_of(own, other)
    return cast("T", replace(cast("Any", recipe), **parts))


def _each(recipe: TranslationRecipe | ClassificationRecipe, group: ProcessGroup, epoch: int) -> int:
    """What an epoch has for each of the micro-batches of an update."""
    return epoch // recipe.training.micro_batches(group.world_size)


def _search(
    decoding: DecodingConfig,
    segmenters: Segmenters,
    model: nn.Module,
    lengths: Sequence[int],
    most: int | None,
    others_fit: Callable[[int], bool] = lambda _: True,
    reserved: int = 0,
) -> int:
    target = segmenters.target
    search = build_search(decoding, target.specials, target.pieces)
    lengths = [min(length, decoding.max_source_tokens) for length in lengths]
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            specials = segmenters.source.specials
            return largest_search(search, model, specials, lengths, most, others_fit, reserved)
    finally:
        model.train(was_training)


def _losses_fit(
    recipe: TranslationRecipe,
    segmenters: Segmenters,
    corpora: Corpora,
    model: nn.Module,
    tokens: int,
) -> bool:
    """Whether the loss of so many tokens at once fits, too: greedy search may take less."""
    decoding = replace(recipe.validation.decoding, batch_tokens=tokens)
    sized = replace(
        recipe,
        data=replace(recipe.data, batch_tokens=tokens),
        validation=replace(recipe.validation, decoding=decoding),
    )
    return build_task(sized, segmenters, corpora).longest_fits(model)


def _agreed(name: str, size: int, group: ProcessGroup) -> int:
    least = min(map(int, group.gather(str(size))))
    logger.info("%s: auto: %s", name, f"{least:,}")
    return least
