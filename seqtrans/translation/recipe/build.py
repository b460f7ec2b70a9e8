"""The composition root: where the parts that a recipe describes are put together."""

from collections.abc import Iterator

from seqtrans.config.types import number
from seqtrans.errors import RecipeError
from seqtrans.training.checkpoints.run_directory import RunDirectory
from seqtrans.translation.data.parallel_corpus import read_pairs
from seqtrans.translation.evaluation.metrics import corpus_scores
from seqtrans.translation.models.encoder_decoder import EncoderDecoder, ModelConfig
from seqtrans.translation.recipe.load_data import Corpora
from seqtrans.translation.recipe.schema import TranslationRecipe, ValidationConfig
from seqtrans.translation.task import CorpusScorer, TranslationTask, Validation
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


def build_task(
    recipe: TranslationRecipe, segmenters: Segmenters, corpora: Corpora, processes: int = 1
) -> TranslationTask:
    """The learning problem of a recipe, of which ``processes`` will take their shares."""
    return TranslationTask(
        train=corpora.train,
        validation=Validation(
            corpus=corpora.validation,
            sources=corpora.sources,
            references=corpora.references,
            decoding=recipe.validation.decoding,
            scorer=_build_scorer(recipe.validation),
        ),
        segmenters=segmenters,
        batch_tokens=number(recipe.data.batch_tokens),
        accumulate=recipe.training.micro_batches(processes),
        label_smoothing=recipe.label_smoothing,
        seed=recipe.training.seed,
    )


def _build_scorer(config: ValidationConfig) -> CorpusScorer | None:
    if not config.metrics:
        return None
    measure = config.measure
    return lambda hypotheses, references: corpus_scores(hypotheses, references, measure)
