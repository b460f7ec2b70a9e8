"""The corpora of a run that was trained, for what is made of them later."""

from functools import cached_property
from pathlib import Path

from seqtrans.training.checkpoints.find import stored_recipe_of
from seqtrans.training.checkpoints.run_directory import open_run
from seqtrans.translation.data.cache import fill_cache
from seqtrans.translation.data.corpus_files import open_corpus
from seqtrans.translation.data.encoded_corpus import EncodedCorpus
from seqtrans.translation.recipe.schema import TranslationRecipe
from seqtrans.translation.tokenization.segmenters import load_segmenters, sampling_of


class RunCorpora:
    """The encoded corpora of a run; those that are not in the cache are encoded anew.

    Reading a corpus raises ``DataError`` if its text can't be read.

    Args:
        path: Run directory.

    Attributes:
        vocabulary: Folder of the segmenters.
        segmenters: Those of the run.

    Raises:
        CheckpointError: There is no run of translation, or its vocabulary is damaged.
        RecipeError: The run's recipe was altered into something invalid.
    """

    def __init__(self, path: Path) -> None:
        run = open_run(path)
        self._data = stored_recipe_of(TranslationRecipe, "translation", run).data
        self._cache = self._data.cache_for(run.path)
        self.vocabulary = run.vocabulary
        self.segmenters = load_segmenters(run.vocabulary)

    @cached_property
    def train(self) -> EncodedCorpus:
        """The training corpus."""
        data = self._data
        keep_text = sampling_of(data.segmentation) is not None  # as in training, to find its files
        return self._open(
            fill_cache(self._cache, data.train, self.segmenters, data.filter, keep_text=keep_text)
        )

    @cached_property
    def validation(self) -> EncodedCorpus:
        """The validation corpus."""
        files = self._data.validation
        return self._open(fill_cache(self._cache, files, self.segmenters, None, keep_text=False))

    def _open(self, key: str) -> EncodedCorpus:
        return open_corpus(self._cache / key)
