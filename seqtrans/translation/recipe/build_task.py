"""Build the training task of a recipe."""

from seqtrans.translation.evaluation.metrics import corpus_scores
from seqtrans.translation.recipe.load_data import Corpora
from seqtrans.translation.recipe.schema import TranslationRecipe, ValidationConfig
from seqtrans.translation.task import CorpusScorer, TranslationTask, Validation
from seqtrans.translation.tokenization.segmenters import Segmenters


def build_task(
    recipe: TranslationRecipe, segmenters: Segmenters, corpora: Corpora, processes: int = 1
) -> TranslationTask:
    """Build the task that ``processes`` train together."""
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
        batch_tokens=int(recipe.data.batch_tokens),
        accumulate=recipe.training.micro_batches(processes),
        objective=recipe.objective,
        seed=recipe.training.seed,
        both_directions_epochs=recipe.data.both_directions_epochs,
    )


def _build_scorer(config: ValidationConfig) -> CorpusScorer | None:
    if not config.metrics:
        return None
    measure = config.measure
    return lambda hypotheses, references: corpus_scores(hypotheses, references, measure)
