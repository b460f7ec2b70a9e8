"""Make the lexicon of a run, which shortlists use."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from seqtrans.translation.data.build_lexicon import build_lexicon, coverage
from seqtrans.translation.data.ibm_model_1 import train_ibm_model_1
from seqtrans.translation.data.lexicon import FILE, save_lexicon
from seqtrans.translation.recipe.run_corpora import RunCorpora

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
    run = RunCorpora(path)
    segmenters = run.segmenters
    sizes = len(segmenters.source.pieces), len(segmenters.target.pieces)
    table = train_ibm_model_1(run.train, *sizes, iterations)
    lexicon = build_lexicon(table, run.train, segmenters, min(size, sizes[1]))
    save_lexicon(lexicon, run.vocabulary)
    return LexiconReport(
        run.vocabulary / FILE,
        int((lexicon.likely[:, 0] >= 0).sum()),
        {
            n: coverage(run.validation, lexicon, n)
            for n in (*(n for n in SIZES if n < lexicon.size), lexicon.size)
        },
    )
