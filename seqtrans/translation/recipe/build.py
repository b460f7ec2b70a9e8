"""Build segmenters and models, for training and translation."""

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
    """Load the segmenters of a run, or train and store them if there are none.

    Raises:
        DataError: The training text can't be read.
        RecipeError: The text is too small for the vocabulary, or a joint one is needed.
        CheckpointError: The stored vocabulary is damaged.
    """

    def pairs() -> Iterator[tuple[str, str]]:
        return read_pairs(*recipe.data.train)

    if any(run.vocabulary.glob("*.yaml")):
        segmenters = load_segmenters(run.vocabulary, recipe.data.segmentation)
    else:
        segmenters = train_segmenters(recipe.data.segmentation, pairs, run.vocabulary)
    if recipe.data.both_directions_epochs and not segmenters.is_joint:
        raise RecipeError(
            "data.both_directions_epochs needs one vocabulary for both languages: set "
            "data.segmentation.joint to true, or leave it out"
        )
    return segmenters


def build_model(config: ModelConfig, segmenters: Segmenters) -> EncoderDecoder:
    """Build a model with random weights, drawn from torch's global generator.

    Raises:
        RecipeError: Tied embeddings or copying need a joint vocabulary, or there is nothing to
            adapt.
    """
    if config.needs_joint_vocabulary and not segmenters.is_joint:
        instead = "leave it out" if config.tie_embeddings == "none" else "tie less"
        raise RecipeError(
            f"model.{config.needs_joint_vocabulary} needs one vocabulary for both languages: "
            f"set data.segmentation.joint to true, or {instead}"
        )
    try:
        return EncoderDecoder(config, len(segmenters.source.pieces), len(segmenters.target.pieces))
    except ValueError as error:
        raise RecipeError(str(error)) from error
