"""How often each token occurs in the training corpus of a run."""

from pathlib import Path
from typing import Literal

from seqtrans.training.checkpoints.find import stored_recipe_of
from seqtrans.training.checkpoints.run_directory import open_run
from seqtrans.translation.data.cache import fill_cache
from seqtrans.translation.data.corpus_files import open_corpus
from seqtrans.translation.data.encoded_corpus import EncodedCorpus
from seqtrans.translation.recipe.schema import DataConfig, TranslationRecipe
from seqtrans.translation.tokenization.segmenters import Segmenters, load_segmenters, sampling_of


def training_corpus(data: DataConfig, segmenters: Segmenters, run: Path) -> EncodedCorpus:
    """Open the training corpus of a run in the cache, or encode it anew.

    Raises:
        DataError: The text can't be read.
    """
    keep_text = sampling_of(data.segmentation) is not None  # as in training, to find its files
    cache = cache_of(data, run)
    key = fill_cache(cache, data.train, segmenters, data.filter, keep_text=keep_text)
    return open_corpus(cache / key)


def cache_of(data: DataConfig, run: Path) -> Path:
    """Return the folder of encoded corpora."""
    return data.cache or run.parent / ".seqtrans-cache"


def token_counts(path: Path, side: Literal["source", "target"]) -> list[int]:
    """Return how often each token occurs on one side of the training corpus.

    Args:
        path: Run directory.
        side: Language.

    Raises:
        CheckpointError: There is no run of translation, or its vocabulary is damaged.
        DataError: The text of the run can't be read.
        RecipeError: The run's recipe was altered into something invalid.
    """
    run = open_run(path)
    data = stored_recipe_of(TranslationRecipe, "translation", run).data
    segmenters = load_segmenters(run.vocabulary)
    return (
        getattr(training_corpus(data, segmenters, run.path), side)
        .counts(len(getattr(segmenters, side).pieces))
        .tolist()
    )
