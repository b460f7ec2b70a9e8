"""Make the lexicon of a run, which shortlists use."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from seqtrans.training.checkpoints.find import stored_recipe_of
from seqtrans.training.checkpoints.run_directory import open_run
from seqtrans.translation.data.build_lexicon import build_lexicon, coverage
from seqtrans.translation.data.cache import fill_cache
from seqtrans.translation.data.corpus_files import open_corpus
from seqtrans.translation.data.ibm_model_1 import train_ibm_model_1
from seqtrans.translation.data.lexicon import FILE, save_lexicon
from seqtrans.translation.recipe.schema import TranslationRecipe
from seqtrans.translation.recipe.token_counts import cache_of, training_corpus
from seqtrans.translation.tokenization.segmenters import load_segmenters

SIZES = (10, 20, 30, 50, 100, 200)


@dataclass(frozen=True)
class LexiconReport:
    """What was made.

    Attributes:
        path: The file.
        source_tokens: Number of source tokens with translations.
        coverage: Proportion of the target tokens of the validation corpus in shortlists, by their
            size.
    """

    path: Path
    source_tokens: int
    coverage: Mapping[int, float]


def make_lexicon(path: Path, size: int, iterations: int) -> LexiconReport:
    """Make a lexicon from the training corpus of a run, and store it in the run.

    Args:
        path: Run directory.
        size: Translations to keep of each source token.
        iterations: Iterations of IBM model 1.

    Raises:
        CheckpointError: There is no run of translation, or its vocabulary is damaged.
        DataError: The text of the run can't be read.
        RecipeError: The run's recipe was altered into something invalid.
    """
    run = open_run(path)
    data = stored_recipe_of(TranslationRecipe, "translation", run).data
    segmenters = load_segmenters(run.vocabulary)
    corpus = training_corpus(data, segmenters, run.path)
    sizes = len(segmenters.source.pieces), len(segmenters.target.pieces)
    table = train_ibm_model_1(corpus, *sizes, iterations)
    lexicon = build_lexicon(table, corpus, segmenters, min(size, sizes[1]))
    save_lexicon(lexicon, run.vocabulary)
    cache = cache_of(data, run.path)
    key = fill_cache(cache, data.validation, segmenters, None, keep_text=False)
    validation = open_corpus(cache / key)
    return LexiconReport(
        run.vocabulary / FILE,
        int((lexicon.likely[:, 0] >= 0).sum()),
        {
            n: coverage(validation, lexicon, n)
            for n in (*(n for n in SIZES if n < lexicon.size), lexicon.size)
        },
    )
