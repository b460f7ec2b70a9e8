"""Segmenters and models that a recipe describes: what training and translating both need."""

from collections.abc import Iterator

from seqtrans.errors import RecipeError
from seqtrans.training.checkpoints.run_directory import RunDirectory
from seqtrans.translation.data.parallel_corpus import read_pairs
from seqtrans.translation.models.encoder_decoder import EncoderDecoder, ModelConfig
from seqtrans.translation.recipe.schema import TranslationRecipe
from seqtrans.translation.tokenization.segmenters import (
    Segmenters,
    load_segmenters,
    train_segmenters,
)


def prepare_segmenters(recipe: TranslationRecipe, run: RunDirectory) -> Segmenters:
    """The segmenters stored in a run; where there are none yet, make and store them.

    Raises:
        DataError: The training text can't be read.
        RecipeError: The text does not support the vocabulary asked for.
        CheckpointError: What is stored is damaged.
    """
    if any(run.vocabulary.glob("*.yaml")):
        return load_segmenters(run.vocabulary, recipe.data.segmentation)

    def pairs() -> Iterator[tuple[str, str]]:
        return read_pairs(*recipe.data.train)

    return train_segmenters(recipe.data.segmentation, pairs, run.vocabulary)


def build_model(config: ModelConfig, segmenters: Segmenters) -> EncoderDecoder:
    """A model with fresh weights, drawn from torch's global generator.

    Raises:
        RecipeError: The model does not fit the vocabulary.
    """
    if config.tie_embeddings in ("source_target", "all") and not segmenters.is_joint:
        raise RecipeError(
            f"model.tie_embeddings '{config.tie_embeddings}' needs one vocabulary for both "
            "languages: set data.segmentation.joint to true, or tie less"
        )
    return EncoderDecoder(config, len(segmenters.source.pieces), len(segmenters.target.pieces))
